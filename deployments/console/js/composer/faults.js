/** Puts what the API found wrong at the fields it is about. */

import { h } from "../dom.js";

/** @typedef {import("../shapes.js").Fault} Fault */

// The API's names for what is one field here.
const SAME = new Map([
  ["width", "size"], ["height", "size"], ["seconds", "num_frames"], ["fps", "num_frames"],
  ["image", "image"], ["input_reference", "image"],
  ["guidance_high", "guidance_scale"], ["guidance_low", "guidance_scale"],
]);

/**
 * @param {Fault[]} faults
 * @param {Record<string, {control: any, setFault: (text: string | null) => void}>} fields
 * @param {HTMLElement} rest where those stand that belong to no field
 */
export function showFaults(faults, fields, rest) {
  clearFaults(fields, rest);
  /** @type {Map<string, string[]>} */
  const at = new Map();
  const others = [];
  for (const fault of faults) {
    const name = fieldOf(fault);
    if (name !== null && name in fields) at.set(name, [...(at.get(name) ?? []), textOf(fault)]);
    else others.push(textOf(fault));
  }
  for (const [name, texts] of at) fields[name].setFault(texts.join(" "));
  rest.replaceChildren(...others.map((text) => h("p", {}, text)));
  rest.hidden = others.length === 0;
  const first = Object.keys(fields).find((name) => at.has(name));
  if (first !== undefined) reveal(fields[first].control);
}

/** @param {Record<string, {setFault: (text: string | null) => void}>} fields @param {HTMLElement} rest */
export function clearFaults(fields, rest) {
  for (const made of Object.values(fields)) made.setFault(null);
  rest.replaceChildren();
  rest.hidden = true;
}

/** @param {Fault} fault @returns {string | null} `adapters[0].name` is about the field `adapters` */
function fieldOf(fault) {
  if (!fault.field) return null;
  const name = fault.field.split(/[.[]/)[0];
  return SAME.get(name) ?? name;
}

/** @param {Fault} fault */
export function textOf(fault) {
  const message = sentence(fault.message);
  return fault.advice ? `${message} ${sentence(fault.advice)}` : message;
}

/** @param {string} text */
function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(whole) ? whole : `${whole}.`;
}

/** @param {HTMLElement} control */
function reveal(control) {
  const folded = control.closest("details");
  if (folded) folded.open = true;
  control.focus();
}
