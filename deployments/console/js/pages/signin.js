/** Asks for a key where the API wants one. The server trades it for a cookie that scripts cannot read. */

import { ApiError, signIn } from "../api.js";
import { h, icon, setText } from "../dom.js";

/**
 * @param {(session: import("../shapes.js").Session) => void} onSignedIn
 */
export function signInPage(onSignedIn) {
  const key = h("input", { type: "password", id: "key", name: "key", autocomplete: "current-password", required: true, spellcheck: "false", "aria-describedby": "key-fault" });
  const fault = h("p", { class: "fault", id: "key-fault", role: "alert", hidden: true });
  const note = h("p", { class: "quiet", hidden: true });
  const form = h(
    "form",
    { class: "signin", "aria-labelledby": "signin-title" },
    icon("mark"),
    h("h1", { id: "signin-title" }, "Sign in"),
    note,
    h("label", { for: "key" }, "API key"),
    key,
    fault,
    h("button", { type: "submit", class: "primary" }, "Sign in"),
    h("p", { class: "quiet" }, "`wanfarm serve` prints an admin key when it first starts; `wanfarm keys create` makes more."),
  );
  form.addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    fault.hidden = true;
    try {
      const session = await signIn(key.value.trim());
      key.value = "";
      onSignedIn(session);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setText(fault, error.status === 401 ? "No such key, or it was revoked." : error.message);
      fault.hidden = false;
      key.setAttribute("aria-invalid", "true");
      key.select();
    }
  });
  return {
    element: h("section", { class: "door" }, form),
    /** @param {string} text why it is asked for now */
    show(text) {
      setText(note, text);
      note.hidden = !text;
      queueMicrotask(() => key.focus());
    },
  };
}
