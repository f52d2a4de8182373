/** Batch runs of the same output: how far each is, how fast, and when it will be done. */

import { ApiError, getRuns } from "../api.js";
import { connection } from "../connection.js";
import { h, setText } from "../dom.js";
import { about, duration, money, number } from "../format.js";
import { timeElement } from "../times.js";

/** @typedef {import("../shapes.js").Run} Run */

const RUNNING_MS = 3000;
const QUIET_MS = 15_000;

const WORDS = new Map([
  ["running", "Running"], ["paused", "Paused"], ["interrupted", "Interrupted"], ["finished", "Finished"], ["cancelled", "Cancelled"], ["planned", "Planned"],
]);

export class RunsPage {
  title = "Runs";
  #list = h("ol", { class: "runs" });
  #note = h("p", { class: "note", role: "status" }, "");
  element = h("section", { class: "page", "aria-labelledby": "runs-title" }, h("div", { class: "heading" }, h("h1", { id: "runs-title" }, "Batch runs")), this.#list, this.#note);
  /** @type {Map<string, RunCard>} */
  #cards = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #isShown = false;

  constructor() {
    connection.addEventListener("restored", () => this.#isShown && this.#look());
    document.addEventListener("visibilitychange", () => this.#isShown && !document.hidden && this.#look());
  }

  show() {
    this.#isShown = true;
    this.#look();
  }

  hide() {
    this.#isShown = false;
    clearTimeout(this.#timer);
  }

  async #look() {
    clearTimeout(this.#timer);
    let isRunning = false;
    try {
      const { data } = await getRuns();
      isRunning = data.some((run) => run.status === "running");
      this.#show(data);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 403) setText(this.#note, "This key may not see batch runs.");
    }
    if (this.#isShown && !document.hidden && connection.isUp) this.#timer = setTimeout(() => this.#look(), isRunning ? RUNNING_MS : QUIET_MS);
  }

  /** @param {Run[]} runs */
  #show(runs) {
    for (const run of runs) {
      const card = this.#cards.get(run.run_id) ?? new RunCard();
      this.#cards.set(run.run_id, card);
      card.update(run);
    }
    const elements = runs.map((run) => /** @type {RunCard} */ (this.#cards.get(run.run_id)).element);
    if (elements.some((element, at) => this.#list.children[at] !== element) || elements.length !== this.#list.children.length) this.#list.replaceChildren(...elements);
    setText(this.#note, runs.length ? "" : "No batch run here yet: wanfarm render MANIFEST --out with this farm's output makes one.");
  }
}

class RunCard {
  #id = h("span", { class: "mono" });
  #status = h("span", { class: "status" });
  #manifest = h("p", { class: "manifest" });
  #bar = h("div", { class: "whole", role: "progressbar", "aria-valuemin": 0 }, h("div", { class: "part done" }), h("div", { class: "part failed" }));
  #figures = h("dl", { class: "figures small" });
  #report = h("p", { class: "manifest", hidden: true });
  element = h("li", { class: "run" }, h("div", { class: "heading" }, h("h2", {}, this.#id), this.#status), this.#manifest, this.#bar, this.#figures, this.#report);

  /** @param {Run} run */
  update(run) {
    const word = WORDS.get(run.status) ?? run.status;
    setText(this.#id, run.run_id.slice(0, 12));
    this.#id.title = run.run_id;
    setText(this.#status, word);
    this.element.dataset.status = run.status;
    setText(this.#manifest, `${run.model} · ${run.manifest_uri}`);
    this.#showBar(run);
    this.#figures.replaceChildren(...figuresOf(run).map(([value, name]) => h("div", {}, h("dd", {}, value), h("dt", {}, name))));
    this.#report.hidden = !run.report_uri;
    setText(this.#report, `Report: ${run.report_uri ?? ""}`);
  }

  /** @param {Run} run */
  #showBar(run) {
    const total = Math.max(1, run.num_clips);
    const [done, failed] = /** @type {HTMLElement[]} */ ([...this.#bar.children]);
    done.style.setProperty("width", `${(100 * run.num_done) / total}%`);
    failed.style.setProperty("width", `${(100 * run.num_failed) / total}%`);
    this.#bar.setAttribute("aria-valuemax", String(run.num_clips));
    this.#bar.setAttribute("aria-valuenow", String(run.num_done + run.num_failed));
    this.#bar.setAttribute("aria-label", `${number(run.num_done)} of ${number(run.num_clips)} clips done, ${number(run.num_failed)} failed`);
  }
}

/** @param {Run} run @returns {[Node | string, string][]} */
function figuresOf(run) {
  /** @type {[Node | string, string][]} */
  const figures = [[`${number(run.num_done)} / ${number(run.num_clips)}`, "clips"]];
  if (run.num_failed) figures.push([number(run.num_failed), "failed"]);
  if (run.num_rejected) figures.push([number(run.num_rejected), "rejected"]);
  if (run.clips_per_minute) figures.push([number(run.clips_per_minute), "clips a minute"]);
  if (run.eta_s !== null && run.status === "running") figures.push([about(run.eta_s).replace("about ", ""), "left, about"]);
  if (run.device_seconds) figures.push([duration(run.device_seconds), "device time"]);
  if (run.cost !== null && run.cost !== undefined) figures.push([money(run.cost, run.currency), "cost"]);
  if (run.started_at) figures.push([timeElement(run.started_at), "began"]);
  if (run.finished_at) figures.push([timeElement(run.finished_at), "ended"]);
  return figures;
}
