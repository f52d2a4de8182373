/** The step bar: one cell a denoising step, filled as they are done. */

import { h } from "../dom.js";
import { numSteps, stateOf } from "./words.js";

// Beyond, cells would be thinner than their gaps: the bar is then one piece.
const MAX_CELLS = 60;

export function stepBar() {
  const fill = h("div", { class: "fill" });
  const element = h("div", { class: "steps", role: "progressbar", "aria-label": "Denoising steps", "aria-valuemin": 0 }, fill);
  return {
    element,
    /** @param {import("../shapes.js").Video} video */
    update(video) {
      const total = Math.max(1, numSteps(video));
      const done = Math.min(video.step ?? 0, total);
      element.setAttribute("aria-valuemax", String(total));
      element.setAttribute("aria-valuenow", String(done));
      element.setAttribute("aria-valuetext", stateOf(video));
      element.classList.toggle("is-smooth", total > MAX_CELLS);
      element.classList.toggle("is-decoding", video.status === "in_progress" && done >= total);
      element.style.setProperty("--cells", String(total));
      fill.style.setProperty("width", `${(100 * done) / total}%`);
    },
  };
}
