/**
 * The videos this page knows, and whoever wants to hear of their changes.
 *
 * News come on two ways, streams and polls, and may overtake each other: what was asked for before the last news
 * of a video arrived is older than those and is not taken.
 */

/** @typedef {import("./shapes.js").Video} Video */

export const ACTIVE = new Set(["queued", "in_progress"]);

/** @param {Video} video */
export const isActive = (video) => ACTIVE.has(video.status);

class Store extends EventTarget {
  /** @type {Map<string, Video>} */
  #videos = new Map();
  /** @type {Map<string, number>} */
  #newsAt = new Map();
  /** @type {Set<string>} deleted here; a poll that was under way may still name them */
  #gone = new Set();

  /** @param {string} id */
  get(id) {
    return this.#videos.get(id) ?? null;
  }

  /** Of all that it knows, newest first. @returns {Video[]} */
  all() {
    return [...this.#videos.values()].sort(newestFirst);
  }

  /** @returns {Video[]} */
  active() {
    return [...this.#videos.values()].filter(isActive);
  }

  /**
   * @param {Video} video
   * @param {number} [askedAt] performance.now() when it was asked for; now for what the server sent by itself
   */
  put(video, askedAt = performance.now()) {
    if (this.#gone.has(video.id) || askedAt < (this.#newsAt.get(video.id) ?? -1)) return;
    const before = this.#videos.get(video.id) ?? null;
    this.#newsAt.set(video.id, performance.now());
    this.#videos.set(video.id, video);
    if (JSON.stringify(before) !== JSON.stringify(video)) this.#tell("change", { video, before });
  }

  /** @param {string} id */
  remove(id) {
    this.#gone.add(id);
    if (this.#videos.delete(id)) this.#tell("remove", { id });
  }

  /** Between what it knows and what there is now, videos may be missing. */
  missed() {
    this.#tell("gap", {});
  }

  /** Forget everything: another key sees other videos. */
  clear() {
    this.#videos.clear();
    this.#newsAt.clear();
    this.#gone.clear();
  }

  /** @param {string} type @param {object} detail */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Ids are made of the time first. @param {Video} one @param {Video} other */
export function newestFirst(one, other) {
  return other.created_at - one.created_at || (other.id > one.id ? 1 : -1);
}

export const store = new Store();
