/** Asks before what cannot be undone. */

import { h } from "../dom.js";

/**
 * @param {{title: string, text: string, label: string}} question
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, text, label }) {
  return new Promise((resolve) => {
    const no = h("button", { value: "no", autofocus: true }, "Keep");
    const yes = h("button", { value: "yes", class: "danger" }, label);
    const form = h("form", { method: "dialog" }, h("h2", { id: "question" }, title), h("p", {}, text), h("div", { class: "choices" }, no, yes));
    const dialog = h("dialog", { class: "question", "aria-labelledby": "question" }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
