/** The dialog's picture: the video with its strip of moments, or what there is while it is made. */

import { videos } from "../api.js";
import { h, icon, isCalm, setText } from "../dom.js";
import { dropFilm, film } from "../gallery/frame.js";
import { stepBar } from "../gallery/steps.js";
import { reasonOf, stateOf } from "../gallery/words.js";
import { isActive } from "../store.js";

/** @typedef {import("../shapes.js").Video} Video */

export class Stage {
  element = h("div", { class: "stage" });
  #shown = "";
  /** @type {HTMLVideoElement | null} */
  #film = null;
  #picture = h("img", { alt: "", hidden: true });
  #steps = stepBar();
  #state = h("p", { class: "state" });

  /** @param {Video} video */
  show(video) {
    const key = `${video.id}/${isActive(video) ? "active" : video.status}`;
    if (key !== this.#shown) {
      this.clear();
      this.#shown = key;
      if (video.status === "completed") this.#showFilm(video);
      else if (isActive(video)) this.element.replaceChildren(this.#picture, h("div", { class: "making-of" }, this.#steps.element, this.#state));
      else this.#showEnd(video);
    }
    if (isActive(video)) this.#showProgress(video);
  }

  clear() {
    if (this.#film) dropFilm(this.#film);
    this.#film = null;
    this.#shown = "";
    this.#picture.hidden = true;
    this.#picture.removeAttribute("src");
    this.element.replaceChildren();
  }

  /** Space plays and pauses wherever the focus is. */
  toggle() {
    if (!this.#film) return;
    if (this.#film.paused) this.#film.play().catch(() => {});
    else this.#film.pause();
  }

  /** @param {Video} video */
  #showFilm(video) {
    this.#film = film(video, { isPreview: false });
    this.element.replaceChildren(h("div", { class: "screen" }, this.#film), this.#moments(video, this.#film));
    if (!isCalm()) this.#film.play().catch(() => {});
  }

  /** Eight moments; a press on one goes there. @param {Video} video @param {HTMLVideoElement} element */
  #moments(video, element) {
    const picture = h("img", { src: videos.content(video.id, "spritesheet"), alt: "", draggable: "false" });
    const strip = h("button", { type: "button", class: "moments", "aria-label": "Moments of the clip: press one to go there" }, picture);
    strip.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      const box = strip.getBoundingClientRect();
      // A key's press has no place: it starts over.
      const share = event.detail === 0 ? 0 : Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      element.currentTime = share * (element.duration || 0);
    });
    return strip;
  }

  /** @param {Video} video */
  #showProgress(video) {
    this.#steps.update(video);
    setText(this.#state, stateOf(video));
    if (!video.preview_step) return;
    const address = videos.preview(video.id, video.preview_step);
    if (this.#picture.getAttribute("src") === address) return;
    this.#picture.src = address;
    this.#picture.alt = `Preview after step ${video.preview_step}`;
    this.#picture.hidden = false;
  }

  /** @param {Video} video */
  #showEnd(video) {
    if (video.status !== "failed") {
      this.element.replaceChildren(h("div", { class: "ending" }, h("p", {}, "Cancelled before it was done.")));
      return;
    }
    const { code, advice } = video.error ?? { code: "failed", advice: null };
    this.element.replaceChildren(
      h("div", { class: "ending failed" }, icon("warning"), h("p", { class: "reason" }, reasonOf(video)), advice ? h("p", { class: "advice" }, advice) : null, h("p", { class: "code mono" }, code)),
    );
  }
}
