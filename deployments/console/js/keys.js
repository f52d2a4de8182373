/** Shortcuts that hold everywhere. Those of a dialog are its own. */

import { isTyping } from "./dom.js";
import { areKeysOn } from "./pages/help.js";

const CHORD_MS = 1500;

/**
 * @param {Record<string, () => void>} actions by key; "g c" is g, then c
 */
export function listenToKeys(actions) {
  let first = "";
  let firstAt = 0;
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (!areKeysOn() && event.key !== "?") return;
    if (document.querySelector("dialog[open]") && event.key !== "?") return;
    const chord = performance.now() - firstAt < CHORD_MS ? `${first} ${event.key}` : "";
    [first, firstAt] = [event.key, performance.now()];
    const action = actions[chord] ?? actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
