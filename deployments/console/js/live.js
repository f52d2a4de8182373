/**
 * Keeps the store true: two event streams for what is being looked at, a poll for everything else that is not at its
 * end, and nothing at all while the page is hidden. Browsers allow six connections to one server over HTTP/1.1, for
 * all tabs together: streams of hidden tabs would soon hold every one of them.
 */

import { ApiError, videos } from "./api.js";
import { connection } from "./connection.js";
import { isActive, store } from "./store.js";

const MAX_STREAMS = 2;
const BUSY_MS = 2000;
const STREAMED_MS = 5000;
const IDLE_MS = 12_000;
const PAGE = 50;
// So often the newest are asked for as well: others may submit, too, and an answer from the ledger is never active.
const NEWEST_EVERY = 6;
// How many that left the list of the unfinished are asked for at once.
const MAX_ENDED = 6;

/** @type {Map<string, EventSource>} */
const streams = new Map();
/** Which videos are on the screen now, told by those who show them. @type {Map<string, Set<string>>} */
const looked = new Map();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let isOn = false;
let isPolling = false;
let numPolls = 0;

/** @param {string} viewer who looks @param {Iterable<string>} ids */
export function lookAt(viewer, ids) {
  looked.set(viewer, new Set(ids));
  arrange();
}

export function startLive() {
  isOn = true;
  store.addEventListener("change", arrange);
  connection.addEventListener("lost", closeAll);
  connection.addEventListener("restored", pollNow);
  document.addEventListener("visibilitychange", () => (document.hidden ? closeAll() : pollNow()));
  pollNow();
}

export function stopLive() {
  isOn = false;
  store.removeEventListener("change", arrange);
  closeAll();
}

const isAwake = () => isOn && connection.isUp && !document.hidden;

/** Streams for the first of those looked at that are not at their end: one being rendered before one that waits. */
function arrange() {
  if (!isAwake()) return;
  const wanted = new Set(candidates().slice(0, MAX_STREAMS));
  for (const id of streams.keys()) if (!wanted.has(id)) close(id);
  for (const id of wanted) if (!streams.has(id)) open(id);
}

/** @returns {string[]} */
function candidates() {
  const inDialog = looked.get("viewer") ?? new Set();
  const ids = new Set([...inDialog, ...[...looked.values()].flatMap((seen) => [...seen])]);
  /** @param {string} id */
  const rank = (id) => (inDialog.has(id) ? 0 : store.get(id)?.status === "in_progress" ? 1 : 2);
  return [...ids].filter((id) => isActiveId(id)).sort((one, other) => rank(one) - rank(other));
}

/** @param {string} id */
function isActiveId(id) {
  const video = store.get(id);
  return video !== null && isActive(video);
}

/** @param {string} id */
function open(id) {
  const stream = new EventSource(videos.events(id));
  streams.set(id, stream);
  stream.addEventListener("video", (event) => store.put(JSON.parse(event.data)));
  stream.addEventListener("preview", (event) => {
    const video = store.get(id);
    if (video) store.put({ ...video, preview_step: JSON.parse(event.data).step });
  });
  // It ends where the video does, and breaks where the server does; the next poll tells which, and opens another.
  stream.addEventListener("error", () => {
    close(id);
    schedule(600);
  });
}

/** @param {string} id */
function close(id) {
  streams.get(id)?.close();
  streams.delete(id);
}

function closeAll() {
  for (const id of [...streams.keys()]) close(id);
  clearTimeout(timer);
}

/** Ask at once: something was done, or the page is looked at again. */
export function pollNow() {
  schedule(0);
}

/** @param {number} delay_ms */
function schedule(delay_ms) {
  clearTimeout(timer);
  if (isAwake()) timer = setTimeout(poll, delay_ms);
}

async function poll() {
  if (isPolling || !isAwake()) return;
  isPolling = true;
  try {
    const isBusy = store.active().length > 0;
    if (isBusy) await pollActive();
    if (!isBusy || numPolls++ % NEWEST_EVERY === 0) await pollNewest();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  } finally {
    isPolling = false;
  }
  arrange();
  const isAllStreamed = store.active().every((video) => streams.has(video.id));
  schedule(!store.active().length ? IDLE_MS : isAllStreamed ? STREAMED_MS : BUSY_MS);
}

async function pollActive() {
  const askedAt = performance.now();
  const known = store.active().map((video) => video.id);
  const page = await videos.list({ status: "queued,in_progress", limit: PAGE });
  for (const video of page.data) store.put(video, askedAt);
  const listed = new Set(page.data.map((video) => video.id));
  // Those beyond the page's end may well be waiting still.
  const oldest = page.has_more ? (page.data.at(-1)?.created_at ?? 0) : 0;
  const missing = known.filter((id) => !listed.has(id) && isActiveId(id) && (store.get(id)?.created_at ?? 0) >= oldest);
  await Promise.all(missing.slice(0, MAX_ENDED).map(refresh));
}

async function pollNewest() {
  const askedAt = performance.now();
  const page = await videos.list({ limit: PAGE });
  const isGap = page.has_more && store.all().length > 0 && page.data.every((video) => store.get(video.id) === null);
  for (const video of page.data) store.put(video, askedAt);
  if (isGap) store.missed();
}

/** Ask for one video. @param {string} id */
export async function refresh(id) {
  const askedAt = performance.now();
  try {
    store.put(await videos.get(id), askedAt);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 404) store.remove(id);
  }
}
