/** How a video's state is said. */

import { about, duration, money, ordinal } from "../format.js";

/** @typedef {import("../shapes.js").Video} Video */

/** @type {Record<import("../shapes.js").Status, string>} */
export const STATUS_WORDS = {
  queued: "Queued",
  in_progress: "Rendering",
  completed: "Completed",
  failed: "Failed",
  cancelled: "Cancelled",
};

/** "Queued, 3rd in line, starts in about 40 s". @param {Video} video */
export function stateOf(video) {
  if (video.status === "queued") return queuedState(video);
  if (video.status === "in_progress") return renderingState(video);
  return STATUS_WORDS[video.status] ?? video.status;
}

/** @param {Video} video */
function queuedState(video) {
  const parts = ["Queued"];
  if (video.position) parts.push(video.position === 1 ? "next in line" : `${ordinal(video.position)} in line`);
  if (video.wait_s) parts.push(`starts in ${about(video.wait_s)}`);
  else if (video.eta_s) parts.push(`done in ${about(video.eta_s)}`);
  return parts.join(", ");
}

/** @param {Video} video */
function renderingState(video) {
  const total = numSteps(video);
  const done = video.step ?? 0;
  const where = done >= total && total > 0 ? "Decoding frames" : done > 0 ? `Step ${done} of ${total}` : "Starting";
  return video.eta_s ? `${where}, ${about(video.eta_s)} left` : where;
}

/** @param {Video} video */
export const numSteps = (video) => video.num_steps ?? video.num_inference_steps ?? 0;

/** "64×64". @param {Video} video */
export const sizeOf = (video) => video.size.replace("x", "×");

/** "2.1 s". @param {Video} video */
export const lengthOf = (video) => `${Number(video.seconds).toFixed(1)} s`;

/** Why it failed, as its makers said it. @param {Video} video */
export const reasonOf = (video) => video.error?.message ?? "No reason was given.";

/** The line below a card's words. @param {Video} video */
export function factsLine(video) {
  const parts = [sizeOf(video), lengthOf(video), `seed ${video.seed}`];
  return parts.join(" · ");
}

/** What it took. @param {Video} video */
export function effortOf(video) {
  const parts = [];
  if (video.device_seconds !== null && video.device_seconds !== undefined) parts.push(`${duration(video.device_seconds)} of device time`);
  if (video.cost !== null && video.cost !== undefined) parts.push(money(video.cost, video.currency));
  return parts.join(", ");
}
