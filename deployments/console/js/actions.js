/** What is done with a clip, from wherever it was asked for. */

import { ApiError, videos } from "./api.js";
import { newKey } from "./composer/request.js";
import { h } from "./dom.js";
import { pollNow } from "./live.js";
import { copy, toast } from "./say.js";
import { store } from "./store.js";
import { confirmed } from "./viewer/confirm.js";
import { curlOf } from "./viewer/curl.js";

/** @typedef {import("./shapes.js").Video} Video */

/**
 * @param {{begin: (kind: "remix" | "extend", video: Video) => void, show: (id: string) => void, isKeyNeeded: () => boolean}} page
 * @returns {(name: string, video: Video) => void}
 */
export function makeActions({ begin, show, isKeyNeeded }) {
  /** @type {Record<string, (video: Video) => void | Promise<void>>} */
  const actions = {
    cancel: (video) => told(cancel(video)),
    retry: (video) => told(retry(video, show)),
    delete: (video) => told(remove(video)),
    download,
    remix: (video) => begin("remix", video),
    extend: (video) => begin("extend", video),
    curl: (video) => copy(curlOf(video, { origin: location.origin, isKeyNeeded: isKeyNeeded() }), "Copied as a curl command."),
  };
  return (name, video) => void actions[name]?.(video);
}

/** @param {Promise<void>} work */
async function told(work) {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.fault.advice ? `${error.message} ${error.fault.advice}` : error.message, { tone: "bad" });
  }
}

/** @param {Video} video */
async function cancel(video) {
  const askedAt = performance.now();
  store.put(await videos.cancel(video.id), askedAt);
  toast(video.status === "queued" ? "Cancelled." : "Cancelling: it stops at its next step.");
  pollNow();
}

/** @param {Video} video @param {(id: string) => void} show */
async function retry(video, show) {
  const askedAt = performance.now();
  const again = await videos.retry(video.id, newKey());
  store.put(again, askedAt);
  toast("Queued again.", again.id === video.id ? {} : { action: { label: "Show", run: () => show(again.id) } });
  pollNow();
}

/** @param {Video} video */
async function remove(video) {
  const isSure = await confirmed({
    title: "Delete this clip?",
    text: `“${shortened(video.prompt)}” and its video go for good, unless a batch run or another project holds the same clip.`,
    label: "Delete",
  });
  if (!isSure) return;
  try {
    await videos.remove(video.id);
  } catch (error) {
    // Someone else was first: gone is gone.
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
  }
  store.remove(video.id);
  toast("Deleted.");
}

/** @param {string} text */
const shortened = (text) => (text.length > 90 ? `${text.slice(0, 89)}…` : text);

/** @param {Video} video */
function download(video) {
  const link = h("a", { href: videos.content(video.id), download: `${video.id}.mp4` });
  link.click();
}
