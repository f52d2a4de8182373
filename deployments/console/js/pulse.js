/** The farm in one line of the header, and in the tab's title while something is under way. */

import { byId, h } from "./dom.js";
import { farm } from "./farm.js";
import { about, number } from "./format.js";
import { store } from "./store.js";

const NAME = "wanfarm";

export function startPulse() {
  farm.addEventListener("change", show);
  store.addEventListener("change", showTitle);
  store.addEventListener("remove", showTitle);
}

function show() {
  const pulse = byId("pulse"), { queue } = farm;
  pulse.hidden = queue === null;
  if (!queue) return;
  const state = queue.paused ? "paused" : queue.dispatcher === "away" ? "away" : isBusy() ? "busy" : "idle";
  if (pulse.dataset.state === state && pulse.textContent === textOf(state)) return;
  pulse.dataset.state = state;
  pulse.replaceChildren(h("span", { class: "dot", "aria-hidden": "true" }), h("span", {}, textOf(state)));
}

const isBusy = () => farm.queue?.models.some((lane) => lane.num_queued + lane.num_running > 0) ?? false;

/** @param {string} state */
function textOf(state) {
  const lanes = farm.queue?.models ?? [];
  const waiting = lanes.reduce((total, lane) => total + lane.num_queued, 0);
  const running = lanes.reduce((total, lane) => total + lane.num_running, 0);
  if (state === "away") return "dispatcher away";
  if (state === "paused") return `paused, ${number(waiting)} waiting`;
  if (state === "idle") return "idle";
  const work = Math.max(...lanes.map((lane) => lane.backlog_seconds));
  return [`${number(running)} rendering`, waiting ? `${number(waiting)} waiting` : "", work >= 2 ? about(work) : ""].filter(Boolean).join(" · ");
}

function showTitle() {
  const active = store.active();
  const rendering = active.find((video) => video.status === "in_progress");
  const share = rendering && rendering.num_steps ? ` ${Math.round((100 * (rendering.step ?? 0)) / rendering.num_steps)} %` : "";
  const title = active.length ? `(${active.length}${share}) ${NAME}` : NAME;
  if (document.title !== title) document.title = title;
}

