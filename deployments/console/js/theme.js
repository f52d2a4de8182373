/** Light or dark: the system's until one is chosen, then the chosen one on this browser, in every tab of it. */

import { h, icon } from "./dom.js";
import { remember } from "./memory.js";

const DARK = matchMedia("(prefers-color-scheme: dark)");

/** @returns {"light" | "dark"} */
const current = () => /** @type {any} */ (document.documentElement.dataset.theme) ?? (DARK.matches ? "dark" : "light");

/** @returns {HTMLButtonElement} */
export function themeButton() {
  const button = h("button", { type: "button", class: "quiet square", id: "theme", on: { click: switchTheme } });
  const show = () => {
    const other = current() === "dark" ? "light" : "dark";
    button.replaceChildren(icon(other === "dark" ? "moon" : "sun"));
    button.setAttribute("aria-label", `Switch to ${other} colours`);
    button.title = `Switch to ${other} colours (t)`;
  };
  new MutationObserver(show).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  DARK.addEventListener("change", show);
  addEventListener("storage", (event) => {
    if (event.key === "wanfarm.theme") choose(event.newValue);
  });
  show();
  return button;
}

export function switchTheme() {
  const other = current() === "dark" ? "light" : "dark";
  // Choosing what the system wants anyway is going back to the system's.
  const chosen = (other === "dark") === DARK.matches ? null : other;
  remember("theme", chosen);
  choose(chosen);
}

/** @param {string | null} theme */
function choose(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}
