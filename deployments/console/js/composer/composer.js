/** The form that makes clips. */

import { ApiError, getModels } from "../api.js";
import { h, icon, setText } from "../dom.js";
import { farm } from "../farm.js";
import { about, count, ordinal } from "../format.js";
import { recall, remember } from "../memory.js";
import { announce, toast } from "../say.js";
import { store } from "../store.js";
import { adaptersField } from "./adapters.js";
import { advancedFields } from "./advanced.js";
import { clearFaults, showFaults } from "./faults.js";
import { field } from "./fields.js";
import { acceptPictures, pictureField } from "./picture.js";
import { Keys, submit } from "./request.js";
import { lengthField, sizeField } from "./shape.js";

/** @typedef {import("../shapes.js").Model} Model */
/** @typedef {import("../shapes.js").Video} Video */

const MODES = [["text", "From text"], ["image", "From an image"]];

export class Composer {
  /** @type {Map<string, Model>} */
  #models = new Map();
  /** What a remix or an extension stands on. @type {{kind: "remix" | "extend", video: Video} | null} */
  #origin = null;
  #keys = new Keys();
  #isSending = false;

  #prompt = field("prompt", "Prompt", h("textarea", { rows: 3, placeholder: "a red circle moving left on a navy background", required: true }), { class: "prompt" });
  #modes = MODES.map(([value, label], at) => h("label", {}, h("input", { type: "radio", name: "mode", value, checked: at === 0 }), h("span", {}, label)));
  #modeFault = h("p", { class: "fault", hidden: true });
  #modeSet = h("fieldset", { class: "modes" }, h("legend", { class: "unseen" }, "Mode"), this.#modes);
  #picture = pictureField(() => this.#setMode("image"));
  #model = field("model", "Model", h("select"));
  #size = sizeField();
  #pair = h("div", { class: "pair" }, this.#model.element, this.#size.element);
  #length = lengthField();
  #adapters = adaptersField();
  #advanced = advancedFields();
  #rest = h("div", { class: "fault rest", role: "alert", hidden: true });
  #originBar = h("div", { class: "origin", hidden: true });
  #estimate = h("p", { class: "estimate" });
  #button = h("button", { type: "submit", class: "primary" }, "Render clip", h("kbd", { "aria-hidden": "true" }, "Ctrl ↵"));

  constructor() {
    this.fields = {
      prompt: this.#prompt,
      mode: { control: this.#modeSet, setFault: (/** @type {string | null} */ text) => ((this.#modeFault.hidden = text === null), setText(this.#modeFault, text ?? "")) },
      image: { control: this.#picture.input, setFault: this.#picture.setFault },
      model: this.#model, size: this.#size, num_frames: this.#length, adapters: this.#adapters, ...this.#advanced.fields,
    };
    this.form = h(
      "form",
      { class: "composer", id: "composer", novalidate: true, "aria-label": "New clip" },
      this.#originBar,
      this.#modeSet, this.#modeFault,
      this.#prompt.element,
      this.#picture.element,
      this.#pair,
      this.#length.element,
      this.#adapters.element,
      this.#advanced.element,
      this.#rest,
      h("div", { class: "send" }, this.#button, this.#estimate),
    );
    this.element = this.#fold();
    this.#listen();
    this.#prompt.control.value = recall("draft") ?? "";
    this.#setMode("text");
  }

  /** On a phone the form is folded behind its own button. */
  #fold() {
    const button = h("button", { type: "button", class: "unfold", "aria-controls": "composer", "aria-expanded": "false" }, icon("plus"), "New clip");
    button.addEventListener("click", () => this.unfold(button.getAttribute("aria-expanded") !== "true"));
    this.#unfoldButton = button;
    return h("section", { class: "making", "aria-label": "Make a clip" }, button, this.form);
  }
  /** @type {HTMLButtonElement} */
  #unfoldButton;

  /** @param {boolean} isOpen */
  unfold(isOpen) {
    this.#unfoldButton.setAttribute("aria-expanded", String(isOpen));
    this.element.classList.toggle("is-open", isOpen);
  }

  focus() {
    this.unfold(true);
    this.#prompt.control.focus();
  }

  #listen() {
    this.form.addEventListener("submit", (/** @type {Event} */ event) => (event.preventDefault(), this.#send()));
    this.form.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.form.requestSubmit();
    });
    this.#modeSet.addEventListener("change", () => this.#setMode(this.mode));
    this.#model.control.addEventListener("change", () => this.#setModel());
    this.#prompt.control.addEventListener("input", () => remember("draft", this.#prompt.control.value || null));
    acceptPictures(this.form, (file) => this.#acceptsPictures() && this.#picture.take(file));
    farm.addEventListener("change", () => this.#showEstimate());
  }

  /** Asks for the models; throws ApiError. */
  async load() {
    const { data } = await getModels();
    this.#models = new Map(data.map((model) => [model.id, model]));
    const usable = data.filter((model) => !model.unsupported);
    this.#model.control.replaceChildren(...data.map((model) => h("option", { value: model.id, disabled: Boolean(model.unsupported) }, model.id)));
    const chosen = usable.find((model) => model.is_default) ?? usable[0];
    if (chosen) this.#model.control.value = chosen.id;
    this.#setModel();
  }

  get mode() {
    return this.form.elements.namedItem("mode").value;
  }

  #acceptsPictures() {
    return this.#origin?.kind !== "extend" && (this.#current?.modes.includes("image") ?? true);
  }

  /** @param {string} mode */
  #setMode(mode) {
    for (const label of this.#modes) {
      const input = label.querySelector("input");
      input.checked = input.value === mode;
    }
    this.#picture.element.hidden = mode !== "image" || this.#origin !== null;
  }

  /** @returns {Model | null} */
  get #current() {
    return this.#models.get(this.#model.control.value) ?? null;
  }

  #setModel() {
    const model = this.#current;
    if (!model) return;
    for (const part of [this.#size, this.#length, this.#adapters, this.#advanced]) part.setModel(model);
    for (const label of this.#modes) {
      const input = label.querySelector("input");
      input.disabled = !model.modes.includes(input.value);
      label.title = input.disabled ? `${model.id} cannot do this` : "";
    }
    if (!model.modes.includes(this.mode)) this.#setMode(model.modes[0]);
    this.#showEstimate();
  }

  /** Make another of a clip. @param {"remix" | "extend"} kind @param {Video} video */
  begin(kind, video) {
    clearFaults(this.fields, this.#rest);
    if (this.#models.has(video.model)) this.#model.control.value = video.model;
    this.#setModel();
    this.#prompt.control.value = video.prompt;
    this.#length.set(video.num_frames);
    this.#setOrigin({ kind, video });
    this.focus();
    this.#prompt.control.select();
  }

  /** @param {{kind: "remix" | "extend", video: Video} | null} origin */
  #setOrigin(origin) {
    const hadOrigin = this.#origin !== null;
    this.#origin = origin;
    this.#modeSet.hidden = origin !== null;
    this.#originBar.hidden = origin === null;
    this.form.classList.toggle("has-origin", origin !== null);
    this.#setMode(origin ? "text" : this.mode);
    // Both are of their clip's settings. A remix has other words, an extension a length of its own besides.
    for (const element of [this.#pair, this.#adapters.element, this.#advanced.element]) element.hidden = origin !== null;
    this.#length.element.hidden = origin?.kind === "remix";
    if (hadOrigin && !origin) this.#setModel();
    setText(this.#button.firstChild, { remix: "Render remix", extend: "Render extension" }[origin?.kind ?? ""] ?? "Render clip");
    if (!origin) return;
    const leave = h("button", { type: "button", class: "quiet square", "aria-label": "Make a new clip instead", on: { click: () => this.#setOrigin(null) } }, icon("close"));
    const what = origin.kind === "remix" ? "Remix of" : "Goes on from the end of";
    const link = h("a", { href: `#/clips/${origin.video.id}` }, origin.video.prompt || origin.video.id);
    this.#originBar.replaceChildren(icon(origin.kind), h("span", {}, `${what} `, link), leave);
  }

  /** @returns {{path: string, asked: Record<string, any>, picture: File | null}} */
  #request() {
    const prompt = this.#prompt.control.value;
    const length = { num_frames: this.#length.value() };
    if (this.#origin) {
      const asked = this.#origin.kind === "extend" ? { prompt, ...length } : { prompt };
      return { path: `/v1/videos/${this.#origin.video.id}/${this.#origin.kind}`, asked, picture: null };
    }
    const adapters = this.#adapters.value();
    const asked = { prompt, ...this.#advanced.value(), ...length, model: this.#model.control.value, size: this.#size.value(), ...(adapters.length ? { adapters } : {}) };
    return { path: "/v1/videos", asked, picture: this.mode === "image" ? this.#picture.file() : null };
  }

  /** What need not be asked of the server. @returns {import("../shapes.js").Fault[]} */
  #missing() {
    const faults = [];
    if (!this.#prompt.control.value.trim()) faults.push({ code: "missing", field: "prompt", message: "Say what the clip should show." });
    if (!this.#origin && this.mode === "image" && !this.#picture.file()) faults.push({ code: "missing", field: "image", message: "Choose the picture that the clip begins with." });
    return faults;
  }

  async #send() {
    if (this.#isSending) return;
    const missing = this.#missing();
    if (missing.length) return void showFaults(missing, this.fields, this.#rest);
    const { path, asked, picture } = this.#request();
    this.#setSending(true);
    try {
      const askedAt = performance.now();
      const video = await submit(path, asked, picture, this.#keys.for(path, asked, picture));
      this.#keys.spend();
      clearFaults(this.fields, this.#rest);
      this.#submitted(video, askedAt);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#refused(error);
    } finally {
      this.#setSending(false);
    }
  }

  /** @param {Video} video @param {number} askedAt */
  #submitted(video, askedAt) {
    store.put(video, askedAt);
    this.#setOrigin(null);
    farm.look();
    const said = video.status === "completed" ? "Already made before: here it is." : video.position ? `Queued, ${ordinal(video.position)} in line.` : "Queued.";
    announce(said);
    for (const warning of video.warnings ?? []) toast(warning);
    this.form.dispatchEvent(new CustomEvent("submitted", { detail: video, bubbles: true }));
  }

  /** @param {ApiError} error */
  #refused(error) {
    if (!error.isUncertain) this.#keys.spend();
    const faults = error.retryAfter_s ? error.faults.map((fault) => ({ ...fault, advice: fault.advice ?? `There is room in ${about(Number(error.retryAfter_s))}.` })) : error.faults;
    showFaults(faults, this.fields, this.#rest);
  }

  /** @param {boolean} isSending */
  #setSending(isSending) {
    this.#isSending = isSending;
    // Not disabled: that would take the focus away from whoever pressed it.
    this.#button.setAttribute("aria-disabled", String(isSending));
    this.form.setAttribute("aria-busy", String(isSending));
  }

  #showEstimate() {
    const model = farm.queue?.models.find((lane) => lane.model === this.#current?.id);
    setText(this.#estimate, model ? estimateOf(model, farm.queue?.paused !== null) : "");
  }
}

/** @param {import("../shapes.js").QueueModel} lane @param {boolean} isPaused */
function estimateOf(lane, isPaused) {
  if (isPaused) return "Rendering is paused; it will wait in line.";
  const before = lane.num_queued ? `${count(lane.num_queued, "clip")} before it, ` : "";
  if (lane.wait_s === null || lane.wait_s === undefined) return before ? `${before}no estimate yet.` : "";
  const start = lane.wait_s < 2 ? "starts at once" : `starts in ${about(lane.wait_s)}`;
  return `${before}${start}.`.replace(/^./, (first) => first.toUpperCase());
}
