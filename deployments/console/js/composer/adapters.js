/** Adapters (LoRA) and their scales; hidden where the model has none. */

import { h, icon } from "../dom.js";

/** @typedef {{name: string, scale: number}} Adapter */

export function adaptersField() {
  const rows = h("div", { class: "rows" });
  const adding = h("button", { type: "button", class: "link", on: { click: add } }, "Add an adapter");
  const fault = h("p", { class: "fault", id: "field-adapters-fault", hidden: true });
  const element = h(
    "fieldset",
    { class: "field adapters", id: "field-adapters", tabindex: -1, hidden: true },
    h("legend", {}, "Adapters"),
    rows,
    adding,
    fault,
  );
  /** @type {{name: string, title?: string}[]} */
  let known = [];

  function add() {
    const options = known.map(({ name, title }) => h("option", { value: name }, title ?? name));
    const select = h("select", { "aria-label": "Adapter" }, options);
    const scale = h("input", {
      type: "number", step: "0.05", min: "-4", max: "4", value: "1", "aria-label": "Scale",
    });
    const row = h("div", { class: "row" }, select, scale);
    const remove = () => (row.remove(), adding.focus());
    row.append(
      h("button", { type: "button", class: "quiet square", "aria-label": "Remove this adapter", on: { click: remove } }, icon("close")),
    );
    rows.append(row);
    select.focus();
  }

  return {
    element,
    control: element,
    /** @param {import("../shapes.js").Model} model */
    setModel(model) {
      known = model.adapters ?? [];
      element.hidden = known.length === 0;
      rows.replaceChildren();
    },
    /** @returns {Adapter[]} */
    value: () =>
      [...rows.children].map((row) => ({
        name: row.querySelector("select")?.value ?? "",
        scale: Number(row.querySelector("input")?.value),
      })),
    /** @param {string | null} text */
    setFault(text) {
      fault.hidden = text === null;
      fault.textContent = text ?? "";
    },
  };
}
