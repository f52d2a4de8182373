/** A labelled control with room for what is wrong with it. */

import { h, setText } from "../dom.js";

/**
 * @typedef {object} Field
 * @property {HTMLElement} element
 * @property {any} control the input, select or textarea
 * @property {(text: string | null) => void} setFault
 * @property {(text: string) => void} setHint
 */

/**
 * @param {string} name its name in the API, and the end of its ids
 * @param {string} label
 * @param {any} control
 * @param {{hint?: string, class?: string, labelEnd?: Node}} [options]
 * @returns {Field}
 */
export function field(name, label, control, options = {}) {
  const id = `field-${name}`;
  control.id = id;
  control.name = name;
  const hint = h("p", { class: "hint", id: `${id}-hint` }, options.hint ?? "");
  const fault = h("p", { class: "fault", id: `${id}-fault`, hidden: true });
  const title = h("div", { class: "label" }, h("label", { for: id }, label), options.labelEnd);
  const element = h("div", { class: `field ${options.class ?? ""}` }, title, control, hint, fault);
  const describe = () => {
    const ids = [fault.hidden ? "" : fault.id, hint.textContent ? hint.id : ""].filter(Boolean);
    if (ids.length) control.setAttribute("aria-describedby", ids.join(" "));
    else control.removeAttribute("aria-describedby");
    hint.hidden = !hint.textContent;
  };
  describe();
  return {
    element,
    control,
    setFault(text) {
      fault.hidden = text === null;
      setText(fault, text ?? "");
      if (text === null) control.removeAttribute("aria-invalid");
      else control.setAttribute("aria-invalid", "true");
      describe();
    },
    setHint(text) {
      setText(hint, text);
      describe();
    },
  };
}

/**
 * @param {string} name @param {string} label @param {Record<string, any>} attributes @param {object} [options]
 */
export const numberField = (name, label, attributes, options) =>
  field(name, label, h("input", { type: "number", autocomplete: "off", inputmode: "decimal", ...attributes }), options);

/** @param {HTMLSelectElement} select @param {{value: string, label: string, disabled?: boolean}[]} choices */
export function setChoices(select, choices) {
  const before = select.value;
  select.replaceChildren(
    ...choices.map(({ value, label, disabled }) => h("option", { value, disabled: disabled ?? false }, label)),
  );
  if (choices.some((choice) => choice.value === before)) select.value = before;
}

/** A number that was entered, null where there is none. @param {HTMLInputElement} input */
export const numberOf = (input) => (input.value.trim() === "" ? null : Number(input.value));
