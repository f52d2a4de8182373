"use strict";
// Before the first paint, so that a remembered theme never flashes the other one. No module: those run too late.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("wanfarm.theme");
  } catch {
    // Storage may be forbidden; the system's theme stands then.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
