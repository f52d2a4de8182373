/** Everything there is to know of a clip, as pairs of name and value. */

import { h } from "../dom.js";
import { about, duration, money, number, size } from "../format.js";
import { sizeOf, STATUS_WORDS, stateOf } from "../gallery/words.js";
import { copy } from "../say.js";
import { isActive } from "../store.js";
import { timeElement } from "../times.js";

/** @typedef {import("../shapes.js").Video} Video */
/** @typedef {import("../dom.js").Child | Node[]} Value */

/** @param {Video} video @returns {HTMLElement} */
export function factsList(video) {
  const groups = [asked(video), effort(video), origin(video)];
  return h("div", { class: "facts" }, groups.map((pairs) => list(pairs)));
}

/** @param {[string, any][]} pairs */
function list(pairs) {
  const said = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  if (!said.length) return null;
  return h("dl", {}, said.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** @param {Video} video @returns {[string, any][]} */
function asked(video) {
  return [
    ["Model", video.model],
    ["Size", sizeOf(video)],
    ["Length", `${number(Number(video.seconds))} s, ${video.num_frames} frames at ${video.fps} fps`],
    ["Seed", copiable(String(video.seed), "Seed")],
    ["Steps", `${video.num_inference_steps}${video.solver ? `, ${video.solver}` : ""}`],
    ["Guidance", guidanceOf(video)],
    ["Shift", video.shift === undefined ? null : number(video.shift)],
    ["Avoids", video.negative_prompt ? h("span", { class: "long" }, video.negative_prompt) : null],
    ["Adapters", (video.adapters ?? []).map(({ name, scale }) => `${name} × ${scale}`).join(", ")],
  ];
}

/** @param {Video} video */
function guidanceOf(video) {
  const { guidance_high: high, guidance_low: low } = video;
  if (high !== undefined && low !== undefined && high !== low) return `${number(high)} high, ${number(low)} low noise`;
  return number(video.guidance_scale ?? high);
}

/** @param {Video} video @returns {[string, any][]} */
function effort(video) {
  const { started_at: started, completed_at: ended } = video;
  return [
    ["Status", isActive(video) ? stateOf(video) : STATUS_WORDS[video.status]],
    ["Submitted", timeElement(video.created_at)],
    ["Waited", started ? duration(Math.max(0, started - video.created_at)) : video.wait_s ? about(video.wait_s) : null],
    ["Ended", ended ? timeElement(ended) : null],
    ["Rendering", video.render_seconds ? duration(video.render_seconds) : null],
    ["Device time", isNumber(video.device_seconds) && !isActive(video) ? `${number(Number(video.device_seconds))} device-seconds` : null],
    ["Cost", isNumber(video.cost) ? money(Number(video.cost), video.currency) : null],
    ["Attempts", (video.attempts ?? 0) > 1 ? video.attempts : null],
    ["Renderer", isActive(video) ? video.renderer : null],
    ["Ledger", video.from_ledger ? "Made before; answered from the ledger at once" : null],
    ["Priority", video.priority ? video.priority : null],
    ["Expires", video.expires_at ? timeElement(video.expires_at) : null],
  ];
}

/** @param {unknown} value */
const isNumber = (value) => typeof value === "number";

/** @param {Video} video @returns {[string, any][]} */
function origin(video) {
  return [
    ["Remix of", video.remixed_from_video_id ? clipLink(video.remixed_from_video_id) : null],
    ["Goes on from", video.extends ? clipLink(video.extends) : null],
    ["Tags", Object.keys(video.tags ?? {}).length ? tags(video.tags ?? {}) : null],
    ["Id", copiable(video.id, "Id")],
    ["Clip", video.clip_id ? copiable(video.clip_id, "Clip id") : null],
    ["File", video.video ? size(video.video.size_bytes) : null],
    ["SHA-256", video.video?.sha256 ? copiable(video.video.sha256, "SHA-256") : null],
  ];
}

/** @param {string} id */
const clipLink = (id) => h("a", { class: "mono", href: `#/clips/${id}` }, id);

/** @param {Record<string, string>} all */
const tags = (all) => Object.entries(all).map(([name, value]) => h("span", { class: "tag" }, value ? `${name}=${value}` : name));

/** @param {string} text @param {string} name */
function copiable(text, name) {
  const run = () => copy(text, `${name} copied.`);
  return h("button", { type: "button", class: "copiable mono", title: `${text}\nCopy`, "aria-label": `${text}, copy`, on: { click: run } }, text);
}
