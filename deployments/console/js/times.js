/** Relative times that stay true while the page is open, with the absolute one as their title. */

import { h, setText } from "./dom.js";
import { absolute, relative } from "./format.js";

const PERIOD_MS = 15_000;

/**
 * @param {number} at seconds since 1970
 * @returns {HTMLTimeElement}
 */
export function timeElement(at) {
  const moment = new Date(at * 1000).toISOString();
  return h("time", { datetime: moment, title: absolute(at), "data-at": at }, relative(at));
}

export function keepTimesTrue() {
  setInterval(() => {
    for (const element of document.querySelectorAll("time[data-at]")) {
      setText(element, relative(Number(element.getAttribute("data-at"))));
    }
  }, PERIOD_MS);
}
