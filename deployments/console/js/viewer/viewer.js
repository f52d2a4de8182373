/** One clip, large: in a dialog over whatever page is below it. */

import { ApiError, videos } from "../api.js";
import { h, icon, isTyping, setText } from "../dom.js";
import { lookAt, refresh } from "../live.js";
import { toast } from "../say.js";
import { isActive, store } from "../store.js";
import { factsList } from "./facts.js";
import { Stage } from "./stage.js";

/** @typedef {import("../shapes.js").Video} Video */

/** What can be done, with its key; `when` says for whom. */
const ACTIONS = /** @type {const} */ ([
  { name: "download", label: "Download", icon: "download", key: "d", when: (/** @type {Video} */ video) => video.status === "completed" },
  { name: "remix", label: "Remix", icon: "remix", key: "r", when: (/** @type {Video} */ video) => !isActive(video) },
  { name: "extend", label: "Extend", icon: "extend", key: "e", when: (/** @type {Video} */ video) => video.status === "completed" },
  { name: "retry", label: "Retry", icon: "retry", key: "y", when: (/** @type {Video} */ video) => video.status === "failed" || video.status === "cancelled" },
  { name: "cancel", label: "Cancel", icon: "close", key: "x", when: isActive },
  { name: "curl", label: "Copy as curl", icon: "copy", key: "c", when: () => true },
  { name: "delete", label: "Delete", icon: "trash", key: "Delete", when: () => true },
]);

export class Viewer {
  /** @type {string | null} */
  id = null;
  #stage = new Stage();
  #prompt = h("h2", { id: "viewer-prompt" });
  #facts = h("div");
  #warnings = h("ul", { class: "warnings", hidden: true });
  #previous = h("button", { type: "button", class: "quiet square", "aria-label": "Newer clip", title: "Newer clip (←)" }, icon("left"));
  #next = h("button", { type: "button", class: "quiet square", "aria-label": "Older clip", title: "Older clip (→)" }, icon("right"));
  #close = h("button", { type: "button", class: "quiet square", "aria-label": "Close", title: "Close (Esc)" }, icon("close"));
  #buttons = ACTIONS.map((action) => h("button", { type: "button", "data-action": action.name, title: `${action.label} (${action.key})` }, icon(action.icon), h("span", {}, action.label)));
  #actions = h("div", { class: "actions" }, this.#buttons);
  #dialog = h(
    "dialog",
    { class: "viewer", "aria-labelledby": "viewer-prompt" },
    h("div", { class: "corner" }, this.#previous, this.#next, this.#close),
    this.#stage.element,
    h("div", { class: "about" }, h("div", { class: "scrolled", tabindex: 0, role: "group", "aria-label": "Facts of the clip" }, this.#prompt, this.#warnings, this.#facts), this.#actions),
  );

  /**
   * @param {{act: (action: string, video: Video) => void, onClose: () => void, onMove: (step: 1 | -1) => void,
   *   hasNeighbour: (id: string, step: 1 | -1) => boolean, areKeysOn: () => boolean}} told
   */
  constructor(told) {
    this.#told = told;
    document.body.append(this.#dialog);
    this.#close.addEventListener("click", () => this.#dialog.close());
    this.#previous.addEventListener("click", () => told.onMove(-1));
    this.#next.addEventListener("click", () => told.onMove(1));
    this.#dialog.addEventListener("click", (/** @type {MouseEvent} */ event) => event.target === this.#dialog && this.#dialog.close());
    this.#dialog.addEventListener("close", () => this.#closed());
    this.#actions.addEventListener("click", (/** @type {any} */ event) => this.#act(event.target.closest("button")?.dataset.action));
    this.#dialog.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#pressed(event));
    store.addEventListener("change", (event) => /** @type {CustomEvent} */ (event).detail.video.id === this.id && this.#update());
    store.addEventListener("remove", (event) => /** @type {CustomEvent} */ (event).detail.id === this.id && this.#dialog.close());
  }
  #told;

  /** @param {string} id */
  async open(id) {
    if (store.get(id) === null && !(await this.#fetched(id))) return;
    this.id = id;
    lookAt("viewer", [id]);
    this.#update();
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#dialog.querySelector(".scrolled").scrollTop = 0;
    // A poll may be seconds away, and facts like the cost come with the end.
    refresh(id);
  }

  close() {
    if (this.#dialog.open) this.#dialog.close();
  }

  /** A link to a clip that no page has brought yet. @param {string} id */
  async #fetched(id) {
    try {
      store.put(await videos.get(id));
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      toast(error.status === 404 ? "There is no such clip, or no longer." : error.message, { tone: "bad" });
      this.#told.onClose();
      return false;
    }
  }

  #closed() {
    this.#stage.clear();
    this.id = null;
    lookAt("viewer", []);
    this.#told.onClose();
  }

  #update() {
    const video = this.id === null ? null : store.get(this.id);
    if (!video) return;
    this.#stage.show(video);
    setText(this.#prompt, video.prompt || "(no prompt)");
    const warnings = video.warnings ?? [];
    this.#warnings.hidden = warnings.length === 0;
    this.#warnings.replaceChildren(...warnings.map((text) => h("li", {}, text)));
    this.#showFacts(video);
    ACTIONS.forEach((action, at) => (this.#buttons[at].hidden = !action.when(video)));
    this.#previous.disabled = !this.#told.hasNeighbour(video.id, -1);
    this.#next.disabled = !this.#told.hasNeighbour(video.id, 1);
  }

  /** Not while someone selects text in them, and only where something differs. @param {Video} video */
  #showFacts(video) {
    const fresh = factsList(video);
    if (this.#facts.firstElementChild?.textContent === fresh.textContent) return;
    const isSelecting = getSelection()?.type === "Range" && this.#facts.contains(getSelection()?.anchorNode ?? null);
    if (isSelecting && this.#facts.dataset.id === video.id) return;
    this.#facts.dataset.id = video.id;
    this.#facts.replaceChildren(fresh);
  }

  /** @param {string | undefined} name */
  #act(name) {
    const video = this.id === null ? null : store.get(this.id);
    const action = ACTIONS.find((other) => other.name === name);
    if (video && action?.when(video)) this.#told.act(action.name, video);
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const isFilm = event.target instanceof HTMLVideoElement;
    // Inside the player the arrows seek and space plays, by the browser.
    if (isFilm && (event.key === " " || event.key.startsWith("Arrow"))) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") return this.#told.onMove(event.key === "ArrowLeft" ? -1 : 1);
    if (event.key === " " && !(event.target instanceof HTMLButtonElement)) {
      event.preventDefault();
      return this.#stage.toggle();
    }
    const action = this.#told.areKeysOn() && ACTIONS.find((other) => other.key === event.key);
    if (action) this.#act(action.name);
  }
}
