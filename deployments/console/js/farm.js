/** The queue's state, asked for every few seconds while someone looks, for all parts of the page that show it. */

import { ApiError, getQueue } from "./api.js";
import { connection } from "./connection.js";

const PERIOD_MS = 5000;

class Farm extends EventTarget {
  /** @type {import("./shapes.js").Queue | null} */
  queue = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #isOn = false;
  #isAsking = false;

  start() {
    this.#isOn = true;
    this.look();
  }

  stop() {
    this.#isOn = false;
    this.queue = null;
    clearTimeout(this.#timer);
  }

  /** Ask now. */
  look() {
    clearTimeout(this.#timer);
    if (this.#isOn && connection.isUp && !document.hidden && !this.#isAsking) this.#ask();
  }

  /** @param {import("./shapes.js").Queue} queue what an action gave back */
  take(queue) {
    this.queue = queue;
    this.dispatchEvent(new Event("change"));
  }

  async #ask() {
    this.#isAsking = true;
    try {
      const queue = await getQueue();
      if (this.#isOn) this.take(queue);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    } finally {
      this.#isAsking = false;
      this.#timer = setTimeout(() => this.look(), PERIOD_MS);
    }
  }
}

export const farm = new Farm();

connection.addEventListener("restored", () => farm.look());
document.addEventListener("visibilitychange", () => farm.look());
