/** The keyboard's list, and the switch for those whose software types by itself. */

import { h, icon } from "../dom.js";
import { recall, remember } from "../memory.js";

const GROUPS = /** @type {const} */ ([
  ["Anywhere", [["n", "New clip: to the prompt"], ["/", "Search the clips"], ["g then c, q, r", "Go to clips, queue, runs"], ["t", "Light or dark"], ["?", "This list"], ["Esc", "Close, or clear the search"]]],
  ["In the form", [["Ctrl ↵", "Submit"]]],
  ["On the clips", [["← → ↑ ↓", "From clip to clip"], ["↵", "Open"]]],
  ["In a clip", [["← →", "Newer, older"], ["space", "Play or pause"], ["d", "Download"], ["r", "Remix"], ["e", "Extend"], ["y", "Retry"], ["x", "Cancel"], ["c", "Copy as curl"], ["Delete", "Delete"]]],
]);

/** Single keys can be turned off, as dictation types them by accident. */
export const areKeysOn = () => recall("keys") !== "off";

export function helpDialog() {
  const close = h("button", { type: "button", class: "quiet square", "aria-label": "Close" }, icon("close"));
  const box = h("input", { type: "checkbox", checked: areKeysOn() });
  const groups = GROUPS.map(([title, keys]) => h("section", {}, h("h3", {}, title), h("dl", {}, keys.map(([key, text]) => [h("dt", {}, keysOf(key)), h("dd", {}, text)]).flat())));
  const dialog = h(
    "dialog",
    { class: "help", "aria-labelledby": "help-title" },
    h("div", { class: "heading" }, h("h2", { id: "help-title" }, "Keyboard"), close),
    h("div", { class: "groups" }, groups),
    h("label", { class: "check" }, box, "Single-key shortcuts"),
  );
  close.addEventListener("click", () => dialog.close());
  box.addEventListener("change", () => remember("keys", box.checked ? null : "off"));
  dialog.addEventListener("click", (/** @type {Event} */ event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  return { show: () => dialog.open || dialog.showModal() };
}

/** @param {string} text */
function keysOf(text) {
  return text.split(" ").map((word) => (word === "then" ? ` ${word} ` : h("kbd", {}, word.replace(",", ""))));
}
