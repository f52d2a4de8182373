/**
 * Whether the server answers. Everything that asks it reports here; while it is away the page probes with growing
 * pauses, shows a quiet banner, and `restored` tells all who care to look anew.
 */

import { byId, h } from "./dom.js";
import { announce } from "./say.js";

const FIRST_PAUSE_S = 1;
const LONGEST_PAUSE_S = 30;
// A hiccup of one request is nobody's business.
const SILENT_S = 1.5;

class Connection extends EventTarget {
  isUp = true;
  #pause_s = FIRST_PAUSE_S;
  #downSince = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** The server answered, with whatever. */
  succeeded() {
    if (this.isUp) return;
    this.isUp = true;
    this.#pause_s = FIRST_PAUSE_S;
    clearTimeout(this.#timer);
    byId("banner").hidden = true;
    announce("The server answers again.");
    this.dispatchEvent(new Event("restored"));
  }

  /** It could not be reached, or something before it said that it is away. */
  failed() {
    if (!this.isUp) return;
    this.isUp = false;
    this.#downSince = performance.now();
    this.dispatchEvent(new Event("lost"));
    this.#wait();
  }

  /** Someone is looking, or the network came back: do not sit out the pause. */
  hurry() {
    if (this.isUp) return;
    clearTimeout(this.#timer);
    this.#probe();
  }

  #wait() {
    const pause_s = this.#pause_s * (0.8 + 0.4 * Math.random());
    this.#pause_s = Math.min(LONGEST_PAUSE_S, this.#pause_s * 2);
    if (performance.now() - this.#downSince > SILENT_S * 1000) this.#show();
    this.#timer = setTimeout(() => this.#probe(), pause_s * 1000);
  }

  async #probe() {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), 10_000);
    try {
      const answer = await fetch("/v1/session", { signal: controller.signal, cache: "no-store" });
      if (answer.ok) this.succeeded();
      else this.#wait();
    } catch {
      this.#wait();
    } finally {
      clearTimeout(timer);
    }
  }

  #show() {
    const banner = byId("banner");
    if (!banner.hidden) return;
    banner.replaceChildren(
      h("span", {}, "The server does not answer; what was submitted is safe. Trying again by itself."),
      h("button", { type: "button", class: "link", on: { click: () => this.hurry() } }, "Try now"),
    );
    banner.hidden = false;
  }
}

export const connection = new Connection();

addEventListener("online", () => connection.hurry());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) connection.hurry();
});
