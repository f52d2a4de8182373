/** Size and length: what the model's card allows, and nothing else. */

import { h, setText } from "../dom.js";
import { field, numberOf, setChoices } from "./fields.js";

/** @typedef {import("../shapes.js").Model} Model */

const CUSTOM = "custom";

export function sizeField() {
  const select = h("select");
  const width = h("input", { type: "number", "aria-label": "Width in pixels", inputmode: "numeric" });
  const height = h("input", { type: "number", "aria-label": "Height in pixels", inputmode: "numeric" });
  const custom = h("div", { class: "by", hidden: true }, width, h("span", { "aria-hidden": "true" }, "×"), height);
  const made = field("size", "Size", select);
  made.control.after(custom);
  const show = () => (custom.hidden = select.value !== CUSTOM);
  select.addEventListener("change", show);
  return {
    ...made,
    /** @param {Model} model */
    setModel(model) {
      const choices = model.sizes.map((size) => ({ value: size, label: size.replace("x", "×") }));
      setChoices(select, [...choices, { value: CUSTOM, label: "Custom…" }]);
      const [defaultWidth, defaultHeight] = model.defaults.size.split("x");
      for (const [input, limit, value] of [
        [width, model.limits.max_width, defaultWidth],
        [height, model.limits.max_height, defaultHeight],
      ]) {
        Object.assign(input, { min: model.size_multiple, max: limit, step: model.size_multiple });
        if (!input.value) input.value = value;
      }
      show();
    },
    value: () => (select.value === CUSTOM ? `${numberOf(width) ?? 0}x${numberOf(height) ?? 0}` : select.value),
  };
}

export function lengthField() {
  const range = h("input", { type: "range" });
  const output = h("output", { for: "field-num_frames" });
  const made = field("num_frames", "Length", range, { labelEnd: output });
  let fps = 1;
  const show = () => {
    const frames = Number(range.value);
    const seconds = (frames / fps).toFixed(1);
    setText(output, `${seconds} s · ${frames} frames at ${fps} fps`);
    range.setAttribute("aria-valuetext", `${seconds} seconds, ${frames} frames`);
    // How far along it stands, for the track's colour.
    const share = (frames - Number(range.min)) / Math.max(1, Number(range.max) - Number(range.min));
    range.style.setProperty("--share", `${100 * share}%`);
  };
  range.addEventListener("input", show);
  return {
    ...made,
    /** @param {Model} model */
    setModel(model) {
      fps = model.defaults.fps;
      const step = model.frame_step;
      Object.assign(range, { min: step + 1, max: model.limits.max_frames, step, value: model.defaults.num_frames });
      const stable = model.advice?.stable_seconds;
      made.setHint(stable && model.limits.max_seconds > stable ? `Steady up to ${stable} s.` : "");
      show();
    },
    /** @param {number} frames */
    set(frames) {
      range.value = String(frames);
      show();
    },
    value: () => Number(range.value),
  };
}
