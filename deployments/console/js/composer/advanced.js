/** The settings that are folded away. Left empty, each is the model's own. */

import { h } from "../dom.js";
import { field, numberField, numberOf, setChoices } from "./fields.js";

/** @typedef {import("../shapes.js").Model} Model */

export function advancedFields() {
  const fields = {
    num_inference_steps: numberField("num_inference_steps", "Steps", { min: 1, step: 1 }),
    guidance_scale: numberField("guidance_scale", "Guidance", { step: "any" }),
    shift: numberField("shift", "Shift", { step: "any" }),
    solver: field("solver", "Solver", h("select")),
    seed: numberField("seed", "Seed", { min: 0, step: 1, placeholder: "random", inputmode: "numeric" }),
    priority: numberField("priority", "Priority", { min: -100, max: 100, step: 1, placeholder: "0" }),
    negative_prompt: field("negative_prompt", "Negative prompt", h("textarea", { rows: 2 }), { class: "wide" }),
    tags: field("tags", "Tags", h("textarea", { rows: 1, placeholder: "shot=12, take=b" }), {
      class: "wide", hint: "name=value, separated by commas or lines; kept with the clip.",
    }),
  };
  const details = h(
    "details",
    { class: "advanced" },
    h("summary", {}, "Advanced settings"),
    h("div", { class: "grid" }, Object.values(fields).map((made) => made.element)),
  );
  return {
    element: details,
    fields,
    /** @param {Model} model */
    setModel(model) {
      const { defaults, limits, advice } = model;
      const steps = fields.num_inference_steps, guidance = fields.guidance_scale;
      steps.control.placeholder = String(defaults.num_inference_steps);
      if (limits.max_steps) steps.control.max = limits.max_steps;
      steps.setHint(advice?.min_steps ? `${advice.min_steps} or more look best.` : "");
      guidance.control.placeholder = String(defaults.guidance_scale);
      Object.assign(guidance.control, { min: limits.min_guidance_scale ?? 0, max: limits.max_guidance_scale ?? "" });
      guidance.setHint(advice ? `${advice.min_guidance} to ${advice.max_guidance} look best.` : "");
      fields.shift.control.placeholder = String(defaults.shift);
      setChoices(fields.solver.control, [
        { value: "", label: `${defaults.solver} (default)` },
        ...model.solvers.filter((name) => name !== defaults.solver).map((name) => ({ value: name, label: name })),
      ]);
      fields.negative_prompt.control.placeholder = defaults.negative_prompt || "none";
    },
    /** What was entered, nothing of what was left to the model. @returns {Record<string, any>} */
    value() {
      const asked = {
        num_inference_steps: numberOf(fields.num_inference_steps.control),
        guidance_scale: numberOf(fields.guidance_scale.control),
        shift: numberOf(fields.shift.control),
        solver: fields.solver.control.value || null,
        seed: numberOf(fields.seed.control),
        priority: numberOf(fields.priority.control),
        negative_prompt: fields.negative_prompt.control.value.trim() || null,
      };
      const tags = parseTags(fields.tags.control.value);
      const present = Object.entries(asked).filter(([, value]) => value !== null);
      return { ...Object.fromEntries(present), ...(Object.keys(tags).length ? { tags } : {}) };
    },
  };
}

/** "a=1, b" is {a: "1", b: ""}. @param {string} text @returns {Record<string, string>} */
export function parseTags(text) {
  const parts = text.split(/[\n,]/).map((part) => part.trim()).filter(Boolean);
  return Object.fromEntries(
    parts.map((part) => {
      const [name, ...rest] = part.split("=");
      return [name.trim(), rest.join("=").trim()];
    }),
  );
}
