/** What waits, who renders, and for how long; admins hold and release it here. */

import { ApiError, steerQueue, videos } from "../api.js";
import { h, icon, setText } from "../dom.js";
import { farm } from "../farm.js";
import { about, duration, number, ordinal } from "../format.js";
import { sizeOf } from "../gallery/words.js";
import { toast } from "../say.js";
import { timeElement } from "../times.js";

/** @typedef {import("../shapes.js").Queue} Queue */

const MAX_WAITING = 50;

export class QueuePage {
  title = "Queue";
  #figures = h("dl", { class: "figures" });
  #notice = h("p", { class: "notice", role: "status", hidden: true });
  #steer = h("button", { type: "button", hidden: true, on: { click: () => this.#toggle() } });
  #models = tableOf("Models", ["Model", "Waiting", "Rendering", "Renderers", "Work ahead", "A new clip starts"]);
  #renderers = tableOf("Renderers", ["Renderer", "Model", "State", "Clip", "Steps"]);
  #waiting = tableOf("Waiting and rendering", ["Place", "Clip", "Model", "Size", "Submitted", ""]);
  #isShown = false;

  /** @param {() => boolean} isAdmin @param {(action: string, video: import("../shapes.js").Video) => void} act */
  constructor(isAdmin, act) {
    this.#isAdmin = isAdmin;
    this.#act = act;
    this.element = h(
      "section",
      { class: "page", "aria-labelledby": "queue-title" },
      h("div", { class: "heading" }, h("h1", { id: "queue-title" }, "Queue"), this.#steer),
      this.#notice,
      this.#figures,
      this.#models.element,
      this.#renderers.element,
      this.#waiting.element,
    );
    farm.addEventListener("change", () => this.#isShown && this.#update());
  }
  #isAdmin;
  #act;

  show() {
    this.#isShown = true;
    this.#update();
    farm.look();
  }

  hide() {
    this.#isShown = false;
  }

  #update() {
    const queue = farm.queue;
    if (!queue) return;
    this.#showNotice(queue);
    this.#showFigures(queue);
    this.#models.fill(queue.models.map((lane) => [
      lane.model, number(lane.num_queued), number(lane.num_running), number(lane.num_renderers), duration(lane.backlog_seconds), startOf(lane, queue),
    ]));
    this.#renderers.fill(queue.renderers.map((renderer) => rendererRow(renderer)), "None is up. They start when something waits.");
    this.#listWaiting();
  }

  /** @param {Queue} queue */
  #showNotice(queue) {
    const { paused, dispatcher } = queue;
    const text = paused
      ? `Paused by ${paused.by}: clips that are being rendered are finished, no other begins.`
      : dispatcher === "away" ? "The dispatcher is starting again. Clips can be submitted; places and estimates come back with it." : "";
    this.#notice.hidden = !text;
    setText(this.#notice, text);
    if (paused) this.#notice.append(" ", timeElement(paused.at));
    this.#steer.hidden = !this.#isAdmin();
    this.#steer.replaceChildren(icon(paused ? "play" : "pause"), paused ? "Resume rendering" : "Pause rendering");
  }

  /** @param {Queue} queue */
  #showFigures(queue) {
    const figures = [
      [number(sum(queue.models, "num_queued")), "waiting"],
      [number(sum(queue.models, "num_running")), "rendering"],
      [duration(Math.max(0, ...queue.models.map((lane) => lane.backlog_seconds))), "of work ahead"],
      [number(queue.renderers.length), queue.renderers.length === 1 ? "renderer" : "renderers"],
    ];
    this.#figures.replaceChildren(...figures.map(([value, name]) => h("div", {}, h("dd", {}, value), h("dt", {}, name))));
  }

  async #listWaiting() {
    try {
      const page = await videos.list({ status: "queued,in_progress", order: "asc", limit: MAX_WAITING });
      const inOrder = [...page.data].sort((one, other) => (one.position ?? 0) - (other.position ?? 0));
      this.#waiting.fill(inOrder.map((video) => this.#waitingRow(video)), "Nothing waits.");
      this.#waiting.note(page.has_more ? `The first ${MAX_WAITING} are listed.` : "");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }

  /** @param {import("../shapes.js").Video} video */
  #waitingRow(video) {
    const place = video.status === "in_progress" ? "rendering" : video.position ? ordinal(video.position) : "…";
    const link = h("a", { href: `#/clips/${video.id}` }, video.prompt || video.id);
    const cancel = h("button", { type: "button", class: "small", "aria-label": `Cancel: ${video.prompt}`, on: { click: () => this.#act("cancel", video) } }, "Cancel");
    return [place, link, video.model, sizeOf(video), timeElement(video.created_at), cancel];
  }

  async #toggle() {
    const isPaused = Boolean(farm.queue?.paused);
    try {
      await steerQueue(isPaused ? "resume" : "pause");
      toast(isPaused ? "Rendering goes on." : "Paused: no other clip begins.");
      farm.look();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      toast(error.message, { tone: "bad" });
    }
  }
}

/** @param {import("../shapes.js").QueueModel[]} lanes @param {"num_queued" | "num_running"} name */
const sum = (lanes, name) => lanes.reduce((total, lane) => total + lane[name], 0);

/** @param {import("../shapes.js").QueueModel} lane @param {Queue} queue */
function startOf(lane, queue) {
  if (queue.paused) return "when resumed";
  if (lane.wait_s === null || lane.wait_s === undefined) return "unknown";
  return lane.wait_s < 2 ? "at once" : `in ${about(lane.wait_s)}`;
}

/** @param {import("../shapes.js").Renderer} renderer */
function rendererRow(renderer) {
  const clip = renderer.job_id ? h("a", { class: "mono", href: `#/clips/${renderer.job_id}` }, renderer.job_id) : "";
  const steps = renderer.num_steps ? `${renderer.step ?? 0} of ${renderer.num_steps}` : "";
  return [h("span", { class: "mono" }, renderer.name), renderer.model, renderer.state, clip, steps];
}

/**
 * @param {string} title
 * @param {string[]} headings
 */
export function tableOf(title, headings) {
  const body = h("tbody");
  const note = h("p", { class: "quiet" });
  const names = headings.map((name) => h("th", { scope: "col" }, name || h("span", { class: "unseen" }, "Actions")));
  const table = h("table", {}, h("caption", {}, title), h("thead", {}, h("tr", {}, names)), body);
  return {
    element: h("div", { class: "table", role: "group", "aria-label": title }, table, note),
    /** @param {(Node | string)[][]} rows @param {string} [empty] */
    fill(rows, empty = "") {
      const focused = body.contains(document.activeElement);
      if (focused && rows.length) return; // someone is at one of its buttons; the next look comes soon
      body.replaceChildren(...rows.map((cells) => h("tr", {}, cells.map((cell, at) => h("td", { "data-label": headings[at] }, cell)))));
      table.classList.toggle("is-empty", rows.length === 0);
      setText(note, rows.length ? "" : empty);
    },
    /** @param {string} text */
    note: (text) => text && setText(note, text),
  };
}

