/** One clip in the gallery. */

import { h, icon, setText } from "../dom.js";
import { timeElement } from "../times.js";
import { isActive } from "../store.js";
import { Frame } from "./frame.js";
import { stepBar } from "./steps.js";
import { factsLine, reasonOf, stateOf } from "./words.js";

/** @typedef {import("../shapes.js").Video} Video */

export class Card {
  #frame = new Frame();
  #prompt = h("span");
  #open = h("a", { class: "open" }, this.#prompt);
  #steps = stepBar();
  #state = h("p", { class: "state" });
  #facts = h("span");
  #mark = h("span", { class: "mark", hidden: true });
  #actions = h("div", { class: "actions" });
  #offered = "";

  /**
   * @param {Video} video
   * @param {(action: string, video: Video) => void} act
   */
  constructor(video, act) {
    this.id = video.id;
    this.video = video;
    this.#open.href = `#/clips/${video.id}`;
    this.#state.id = `state-${video.id}`;
    this.#open.setAttribute("aria-describedby", this.#state.id);
    const meta = h("p", { class: "meta" }, this.#facts, timeElement(video.created_at));
    const words = h("div", { class: "words" }, h("h3", {}, this.#open), this.#steps.element, this.#state, meta, this.#actions);
    this.element = h("li", { class: "card", "data-id": video.id }, this.#frame.element, this.#mark, words);
    this.#playWhileLooked();
    this.#actions.addEventListener("click", (/** @type {any} */ event) => {
      const button = event.target.closest("button");
      if (button) act(button.dataset.action, this.video);
    });
    this.update(video);
  }

  /** @param {Video} video */
  update(video) {
    this.video = video;
    setText(this.#prompt, video.prompt || "(no prompt)");
    setText(this.#facts, factsLine(video));
    this.element.dataset.status = video.status;
    this.#frame.update(video);
    this.#steps.element.hidden = !isActive(video);
    this.#steps.update(video);
    setText(this.#state, video.status === "failed" ? reasonOf(video) : stateOf(video));
    this.#state.classList.toggle("unseen", video.status === "completed");
    this.#showMark(video);
    this.#offer(video);
  }

  focus() {
    this.#open.focus();
  }

  stop() {
    this.#frame.stop();
  }

  #playWhileLooked() {
    this.element.addEventListener("pointerenter", (/** @type {PointerEvent} */ event) => event.pointerType === "mouse" && this.#frame.play());
    this.element.addEventListener("pointerleave", () => this.#frame.stop());
    this.#open.addEventListener("focus", () => this.#open.matches(":focus-visible") && this.#frame.play());
    this.#open.addEventListener("blur", () => this.#frame.stop());
  }

  /** @param {Video} video */
  #showMark(video) {
    const warnings = video.warnings ?? [];
    this.#mark.hidden = !(video.from_ledger || warnings.length);
    if (this.#mark.hidden) return;
    this.#mark.replaceChildren(icon(video.from_ledger ? "bolt" : "warning"), video.from_ledger ? "from the ledger" : `${warnings.length}`);
    this.#mark.title = [video.from_ledger ? "Made before: answered at once" : "", ...warnings].filter(Boolean).join("\n");
  }

  /** Buttons are made anew only where what is offered changes: a refresh must not take the focus. @param {Video} video */
  #offer(video) {
    const offered = isActive(video) ? "cancel" : video.status === "failed" || video.status === "cancelled" ? "retry" : "";
    if (offered === this.#offered) return;
    this.#offered = offered;
    const labels = { cancel: "Cancel", retry: "Retry" };
    const label = labels[/** @type {"retry"} */ (offered)];
    const button = h("button", { type: "button", class: "small", "data-action": offered, "aria-label": `${label}: ${video.prompt}` }, icon(offered === "retry" ? "retry" : "close"), label);
    this.#actions.replaceChildren(...(offered ? [button] : []));
  }
}
