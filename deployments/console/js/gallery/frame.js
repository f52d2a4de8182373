/** What a video looks like now: its preview while it is made, its poster when it is, and itself while one looks. */

import { videos } from "../api.js";
import { h, icon, isCalm } from "../dom.js";

/** @typedef {import("../shapes.js").Video} Video */

// Posters of so few pixels are shown as the pixels that they are.
const FEW_PIXELS = 160;

/** @param {Video} video */
const hasFewPixels = (video) => Number(video.size.split("x")[0]) <= FEW_PIXELS;

/**
 * @param {Video} video
 * @param {{isPreview: boolean}} how a preview is silent and has no controls
 */
export function film(video, { isPreview }) {
  const element = h("video", {
    class: hasFewPixels(video) ? "few-pixels" : "",
    preload: isPreview ? "none" : "auto",
    loop: true, playsInline: true, muted: true, controls: !isPreview,
    poster: videos.content(video.id, "thumbnail"),
    src: videos.content(video.id),
    tabindex: isPreview ? -1 : 0,
    "aria-label": video.prompt,
  });
  if (isPreview) element.setAttribute("aria-hidden", "true");
  return element;
}

/** Stops it and lets go of its connection. @param {HTMLVideoElement} element */
export function dropFilm(element) {
  element.pause();
  element.removeAttribute("src");
  element.load();
  element.remove();
}

export class Frame {
  element = h("div", { class: "frame" });
  #shown = "";
  /** @type {HTMLVideoElement | null} */
  #film = null;
  /** @type {Video | null} */
  #video = null;

  /** @param {Video} video */
  update(video) {
    this.#video = video;
    const [width, height] = video.size.split("x").map(Number);
    const key = `${video.status}/${video.status === "in_progress" ? (video.preview_step ?? "") : ""}`;
    if (key === this.#shown) return;
    this.#shown = key;
    this.element.classList.toggle("is-wide", width / height > 2.2);
    if (video.status === "completed") this.#showPoster(video);
    else if (video.status === "in_progress" && video.preview_step) this.#showPreview(video, video.preview_step);
    else if (!ACTIVE_WITH_PICTURE.has(video.status) || !this.element.querySelector("img")) this.#showSign(video);
  }

  /** @param {Video} video */
  #showPoster(video) {
    this.stop();
    const poster = h("img", { src: videos.content(video.id, "thumbnail"), alt: "", loading: "lazy", decoding: "async", class: hasFewPixels(video) ? "few-pixels" : "" });
    this.element.replaceChildren(poster);
  }

  /** The next picture takes the last one's place when it is there, so that nothing flickers. @param {Video} video @param {number} step */
  #showPreview(video, step) {
    const picture = h("img", { alt: `Preview after step ${step}`, class: "preview", decoding: "async" });
    picture.addEventListener("load", () => {
      if (this.#video?.status === "in_progress") this.element.replaceChildren(picture);
    });
    picture.src = videos.preview(video.id, step);
  }

  /** @param {Video} video */
  #showSign(video) {
    this.stop();
    const name = { failed: "warning", cancelled: "close" }[/** @type {"failed"} */ (video.status)];
    this.element.replaceChildren(h("div", { class: `sign ${video.status}` }, name ? icon(name) : h("span", { class: "waiting", "aria-hidden": "true" })));
  }

  play() {
    if (this.#film || this.#video?.status !== "completed" || isCalm()) return;
    this.#film = film(this.#video, { isPreview: true });
    this.element.append(this.#film);
    this.#film.play().catch(() => {});
  }

  stop() {
    if (this.#film) dropFilm(this.#film);
    this.#film = null;
  }
}

// Between two previews the last one stays.
const ACTIVE_WITH_PICTURE = new Set(["in_progress"]);
