/** What the page says: to the eye in a corner, to a screen reader in a live region. */

import { byId, h, icon } from "./dom.js";

const TOAST_MS = 6000;

/**
 * @param {string} text
 * @param {{tone?: "plain" | "bad", action?: {label: string, run: () => void}}} [options] a bad one stays until closed
 */
export function toast(text, { tone = "plain", action } = {}) {
  const close = () => element.remove();
  const element = h(
    "div",
    { class: `toast ${tone}` },
    h("p", {}, text),
    action && h("button", { type: "button", class: "link", on: { click: () => (close(), action.run()) } }, action.label),
    h("button", { type: "button", class: "quiet square", "aria-label": "Dismiss", on: { click: close } }, icon("close")),
  );
  home().append(element);
  announce(text, tone === "bad" ? "urgent" : "polite");
  if (tone !== "bad") dismissLater(element);
}

/** An open dialog makes the rest of the page inert, so toasts move into it. */
function home() {
  const toasts = byId("toasts");
  const host = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (toasts.parentElement !== host) host.append(toasts);
  return toasts;
}

/** @param {HTMLElement} element */
function dismissLater(element) {
  const wait = () => setTimeout(() => (element.matches(":hover, :focus-within") ? wait() : element.remove()), TOAST_MS);
  wait();
}

/**
 * @param {string} text
 * @param {"polite" | "urgent"} [region]
 */
export function announce(text, region = "polite") {
  const element = byId(region);
  // Saying the same twice must be heard twice: an empty moment makes it a change.
  element.textContent = "";
  setTimeout(() => (element.textContent = text), 60);
}

/**
 * @param {string} text
 * @param {string} said what is announced when it worked
 */
export async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text);
  }
  toast(said);
}

/** Over plain http on another machine a browser offers no clipboard. @param {string} text */
function copyBySelection(text) {
  const area = h("textarea", { value: text, class: "unseen", "aria-hidden": "true", tabindex: -1 });
  ([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body).append(area);
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  area.select();
  document.execCommand("copy");
  area.remove();
  before?.focus();
}
