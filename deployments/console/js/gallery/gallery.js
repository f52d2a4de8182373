/** All clips, newest first, a screenful at a time, by status and text. */

import { ApiError, videos } from "../api.js";
import { connection } from "../connection.js";
import { h, icon, setText } from "../dom.js";
import { count } from "../format.js";
import { lookAt } from "../live.js";
import { newestFirst, store } from "../store.js";
import { Card } from "./card.js";

/** @typedef {import("../shapes.js").Video} Video */

const PAGE = 24;
const SEARCH_PAGE = 100;
// How far one search looks back by itself before it asks.
const SEARCH_REACH = 400;

const FILTERS = /** @type {const} */ ([
  ["", "All"],
  ["queued,in_progress", "Active"],
  ["completed", "Completed"],
  ["failed", "Failed"],
  ["cancelled", "Cancelled"],
]);

export class Gallery {
  /** @type {Map<string, Card>} */
  #cards = new Map();
  #status = "";
  /** @type {string[]} */
  #terms = [];
  /** Down to where everything is known: the last video of the last page. @type {Video | null} */
  #floor = null;
  /** Where the next page begins: beyond the floor, where the server looked at others for nothing. @type {string | null} */
  #after = null;
  #hasMore = true;
  /** The last page held nothing, and yet there is more: the server looks so far back at once and no further. */
  #isBarren = false;
  #isLoading = false;
  #numSearched = 0;
  /** Counts the filters chosen, so that an answer to an old one is dropped. */
  #turn = 0;

  #search = h("input", { type: "search", id: "search", placeholder: "Search prompts, seeds, tags, ids", "aria-label": "Search clips", autocomplete: "off" });
  #filters = h("div", { class: "filters", role: "group", "aria-label": "Status" }, FILTERS.map(([value, label]) => h("button", { type: "button", "data-status": value, "aria-pressed": String(value === "") }, label)));
  #count = h("p", { class: "count", role: "status" });
  #sheet = h("ol", { class: "sheet", "aria-label": "Clips" });
  #note = h("div", { class: "note", hidden: true });
  #end = h("div", { class: "end" });

  /** @param {(action: string, video: Video) => void} act */
  constructor(act) {
    this.#act = act;
    const bar = h("div", { class: "bar" }, this.#filters, h("div", { class: "search" }, icon("search"), this.#search, h("kbd", { "aria-hidden": "true" }, "/")), this.#count);
    this.element = h("section", { class: "gallery", "aria-label": "Gallery" }, bar, this.#sheet, this.#note, this.#end);
    this.#listen();
  }
  #act;

  #listen() {
    this.#filters.addEventListener("click", (/** @type {any} */ event) => {
      const button = event.target.closest("button");
      if (button) this.choose(button.dataset.status, this.#search.value);
    });
    let waiting = 0;
    this.#search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.choose(this.#status, this.#search.value), 160);
    });
    this.#search.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") this.choose(this.#status, "");
    });
    this.#sheet.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#walk(event));
    store.addEventListener("change", (event) => this.#changed(/** @type {CustomEvent} */ (event).detail.video));
    store.addEventListener("remove", (event) => this.#removed(/** @type {CustomEvent} */ (event).detail.id));
    new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.#load(), { rootMargin: "600px" }).observe(this.#end);
    this.#onScreen = new IntersectionObserver((entries) => this.#sawCards(entries));
    store.addEventListener("gap", () => this.reload());
    connection.addEventListener("restored", () => this.#load());
  }
  /** @type {IntersectionObserver} */
  #onScreen;
  /** @type {Set<string>} */
  #seen = new Set();

  /** @param {IntersectionObserverEntry[]} entries */
  #sawCards(entries) {
    for (const { target, isIntersecting } of entries) {
      const id = /** @type {HTMLElement} */ (target).dataset.id ?? "";
      if (isIntersecting) this.#seen.add(id);
      else this.#seen.delete(id);
    }
    lookAt("gallery", this.#seen);
  }

  /** @param {string} status @param {string} text */
  choose(status, text) {
    this.#status = status;
    this.#terms = text.toLowerCase().split(/\s+/).filter(Boolean);
    if (this.#search.value !== text) this.#search.value = text;
    for (const button of this.#filters.children) button.setAttribute("aria-pressed", String(button.dataset.status === status));
    this.reload();
  }

  /** From the newest on. */
  reload() {
    this.#turn++;
    this.#floor = null;
    this.#after = null;
    this.#hasMore = true;
    this.#isLoading = false;
    this.#numSearched = 0;
    for (const card of this.#cards.values()) this.#drop(card);
    this.#load();
  }

  async #load() {
    if (this.#isLoading || !this.#hasMore) return;
    this.#isLoading = true;
    const turn = this.#turn;
    this.element.setAttribute("aria-busy", "true");
    try {
      await this.#fetch(turn);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (turn === this.#turn && !error.isUncertain) this.#say(error.message, "Try again", () => this.reload());
    } finally {
      if (turn === this.#turn) {
        this.#isLoading = false;
        this.element.setAttribute("aria-busy", "false");
        this.#followUp();
      }
    }
  }

  /** @param {number} turn */
  async #fetch(turn) {
    const askedAt = performance.now();
    const limit = this.#terms.length ? SEARCH_PAGE : PAGE;
    const page = await videos.list({ after: this.#after, limit, status: this.#status || null });
    if (turn !== this.#turn) return;
    for (const video of page.data) store.put(video, askedAt);
    this.#floor = page.data.at(-1) ?? this.#floor;
    this.#after = page.last_id ?? this.#after;
    this.#hasMore = Boolean(page.has_more);
    this.#isBarren = this.#hasMore && page.data.length === 0;
    this.#numSearched += page.data.length;
    this.#show();
  }

  /** A page may bring too few to fill the screen, or, while searching, none. */
  #followUp() {
    if (!connection.isUp) return;
    if (this.#terms.length && this.#hasMore && this.#numSearched >= SEARCH_REACH) {
      this.#say(`Looked through the newest ${count(this.#numSearched, "clip")}.`, "Look further back", () => {
        this.#numSearched = 0;
        this.#load();
      });
      return;
    }
    if (this.#isBarren) return this.#say("None among the newest.", "Look further back", () => this.#load());
    if (!this.#hasMore && this.#cards.size === 0) return this.#sayEmpty();
    this.#note.hidden = true;
    if (this.#hasMore && this.#end.getBoundingClientRect().top < innerHeight + 600) requestAnimationFrame(() => this.#load());
  }

  #sayEmpty() {
    const isAll = !this.#status && !this.#terms.length;
    if (isAll) this.#say("No clips yet. Describe one, and it appears here as it is made.");
    else this.#say("No clip is like that.", "Show all", () => this.choose("", ""));
  }

  /** @param {string} text @param {string} [label] @param {() => void} [run] */
  #say(text, label, run) {
    this.#note.replaceChildren(h("p", {}, text), ...(label ? [h("button", { type: "button", on: { click: run } }, label)] : []));
    this.#note.hidden = false;
  }

  /** @param {Video} video */
  #isWanted(video) {
    if (this.#hasMore && (!this.#floor || newestFirst(video, this.#floor) > 0)) return false;
    if (this.#status && !this.#status.split(",").includes(video.status)) return false;
    return this.#terms.length === 0 || this.#terms.every((term) => wordsOf(video).includes(term));
  }

  /** Brings what is shown in line with what is known. */
  #show() {
    for (const video of store.all()) if (this.#isWanted(video) && !this.#cards.has(video.id)) this.#add(video);
    this.#showCount();
  }

  #showCount() {
    setText(this.#count, `${count(this.#cards.size, "clip")}${this.#hasMore ? " so far" : ""}`);
  }

  /** @param {Video} video */
  #add(video) {
    const card = new Card(video, this.#act);
    this.#cards.set(video.id, card);
    // From the end, where a page's older ones go.
    let before = this.#sheet.lastElementChild;
    while (before && newestFirst(video, this.#cardOf(before).video) < 0) before = before.previousElementSibling;
    this.#sheet.insertBefore(card.element, before ? before.nextElementSibling : this.#sheet.firstElementChild);
    this.#onScreen.observe(card.element);
    this.#note.hidden = true;
  }

  /** @param {Card} card */
  #drop(card) {
    this.#onScreen.unobserve(card.element);
    this.#seen.delete(card.id);
    this.#cards.delete(card.id);
    card.stop();
    card.element.remove();
  }

  /** @param {Element} element @returns {Card} */
  #cardOf(element) {
    return /** @type {Card} */ (this.#cards.get(/** @type {HTMLElement} */ (element).dataset.id ?? ""));
  }

  /** @param {Video} video */
  #changed(video) {
    const card = this.#cards.get(video.id);
    if (card) card.update(video);
    // One that no longer fits the filter stays until the filter is chosen again: nothing vanishes under the hand.
    else if (this.#isWanted(video)) this.#show();
  }

  /** @param {string} id */
  #removed(id) {
    const card = this.#cards.get(id);
    if (!card) return;
    const hadFocus = card.element.contains(document.activeElement);
    const neighbour = card.element.nextElementSibling ?? card.element.previousElementSibling;
    this.#drop(card);
    if (hadFocus && neighbour) this.#cardOf(neighbour).focus();
    this.#showCount();
    if (this.#cards.size === 0) this.#followUp();
  }

  /** The video before or after another, as they stand on the sheet. @param {string} id @param {1 | -1} step @returns {string | null} */
  neighbour(id, step) {
    const element = this.#cards.get(id)?.element;
    const other = step === 1 ? element?.nextElementSibling : element?.previousElementSibling;
    return other ? this.#cardOf(other).id : null;
  }

  /** @param {string} id */
  focusCard(id) {
    this.#cards.get(id)?.focus();
  }

  focusSearch() {
    this.#search.focus();
    this.#search.select();
  }

  /** Arrows go from card to card, as on a contact sheet. @param {KeyboardEvent} event */
  #walk(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (!target.matches("a.open") || event.altKey || event.ctrlKey || event.metaKey) return;
    const columns = getComputedStyle(this.#sheet).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const elements = [...this.#sheet.children];
    const element = step && elements[elements.indexOf(/** @type {Element} */ (target.closest(".card"))) + step];
    if (!element) return;
    event.preventDefault();
    this.#cardOf(element).focus();
  }
}

/** What a search looks at. @param {Video} video */
function wordsOf(video) {
  const tags = Object.entries(video.tags ?? {}).flat();
  return [video.prompt, video.id, video.clip_id, video.model, video.seed, video.error?.message, ...tags].join(" ").toLowerCase();
}

