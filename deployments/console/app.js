/** The console: signs in where needed, then shows clips, queue or runs, as the address says. */

import { makeActions } from "./js/actions.js";
import { ApiError, getSession, signOut, whenSignedOut } from "./js/api.js";
import { Composer } from "./js/composer/composer.js";
import { connection } from "./js/connection.js";
import { byId, h, icon } from "./js/dom.js";
import { farm } from "./js/farm.js";
import { Gallery } from "./js/gallery/gallery.js";
import { listenToKeys } from "./js/keys.js";
import { startLive, stopLive } from "./js/live.js";
import { areKeysOn, helpDialog } from "./js/pages/help.js";
import { QueuePage } from "./js/pages/queue.js";
import { RunsPage } from "./js/pages/runs.js";
import { signInPage } from "./js/pages/signin.js";
import { startPulse } from "./js/pulse.js";
import { toast } from "./js/say.js";
import { store } from "./js/store.js";
import { switchTheme, themeButton } from "./js/theme.js";
import { keepTimesTrue } from "./js/times.js";
import { Viewer } from "./js/viewer/viewer.js";

/** @typedef {import("./js/shapes.js").Session} Session */

/** @type {Session | null} */
let session = null;
let isStarted = false;

const main = byId("main");
const help = helpDialog();
const door = signInPage((signedIn) => enter(signedIn));
const act = makeActions({
  begin: (kind, video) => {
    go("clips");
    composer.begin(kind, video);
  },
  show: (id) => (location.hash = `#/clips/${id}`),
  isKeyNeeded: () => session?.is_key_needed ?? false,
});
const composer = new Composer();
const gallery = new Gallery(act);
const viewer = new Viewer({
  act,
  areKeysOn,
  onClose: leaveClip,
  onMove: (step) => {
    const next = viewer.id && gallery.neighbour(viewer.id, step);
    if (next) location.replace(`#/clips/${next}`);
  },
  hasNeighbour: (id, step) => gallery.neighbour(id, step) !== null,
});

/** @type {Record<string, {element: HTMLElement, title: string, show: () => void, hide: () => void}>} */
const pages = {
  clips: { element: h("div", { class: "desk" }, composer.element, gallery.element), title: "Clips", show() {}, hide() {} },
  queue: new QueuePage(() => session?.scopes.includes("admin") ?? false, act),
  runs: new RunsPage(),
};
let page = "";

/** @param {string} name */
const go = (name) => (location.hash = `#/${name}`);

/** The address: #/clips, #/clips/<id>, #/queue, #/runs. */
function follow() {
  if (!isStarted) return;
  const [, name = "", id = ""] = location.hash.split("/");
  const known = name in pages ? name : "clips";
  if (!id || !page) showPage(known === "clips" && id && page ? page : known);
  if (id) viewer.open(decodeURIComponent(id));
  else viewer.close();
}

/** @param {string} name */
function showPage(name) {
  if (name === page) return;
  if (page) pages[page].hide();
  page = name;
  main.replaceChildren(pages[name].element);
  for (const tab of byId("tabs").children) {
    if (tab.dataset.page === name) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  pages[name].show();
}

/** The dialog was closed: the address is its page's again, without a step back in history. */
function leaveClip() {
  const [, , id] = location.hash.split("/");
  if (!id) return;
  history.replaceState(null, "", `#/${page || "clips"}`);
  gallery.focusCard(decodeURIComponent(id));
}

/** @param {Session} signedIn */
async function enter(signedIn) {
  session = signedIn;
  showTools();
  if (session.is_key_needed && !session.is_signed_in) return lock("");
  document.body.classList.remove("is-locked");
  isStarted = true;
  page = "";
  try {
    await composer.load();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) return;
    if (!error.isUncertain) toast(error.message, { tone: "bad" });
  }
  follow();
  gallery.reload();
  startLive();
  farm.start();
}

/** @param {string} why */
function lock(why) {
  isStarted = false;
  stopLive();
  farm.stop();
  viewer.close();
  store.clear();
  page = "";
  document.body.classList.add("is-locked");
  byId("pulse").hidden = true;
  main.replaceChildren(door.element);
  door.show(why);
}

async function leave() {
  try {
    await signOut();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return toast(error.message, { tone: "bad" });
  }
  begin();
}

function showTools() {
  const tools = [themeButton(), helpButton()];
  if (session?.is_key_needed && session.is_signed_in) {
    const who = [session.key_name, session.project].filter(Boolean).join(", ");
    tools.push(h("button", { type: "button", class: "quiet", id: "leave", title: who, on: { click: leave } }, icon("leave"), h("span", {}, "Sign out")));
  }
  byId("tools").replaceChildren(...tools);
}

const helpButton = () => h("button", { type: "button", class: "quiet square", "aria-label": "Keyboard shortcuts", title: "Keyboard shortcuts (?)", on: { click: help.show } }, h("span", { "aria-hidden": "true" }, "?"));

async function begin() {
  try {
    await enter(await getSession());
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // The server is away: the connection's probing finds it, and this is tried again.
    connection.failed();
    connection.addEventListener("restored", begin, { once: true });
  }
}

whenSignedOut(() => isStarted && lock("Your session has ended."));
composer.form.addEventListener("submitted", (/** @type {any} */ event) => {
  go("clips");
  if (!matchMedia("(max-width: 760px)").matches) return;
  composer.unfold(false);
  gallery.focusCard(event.detail.id);
});
addEventListener("hashchange", follow);
listenToKeys({
  n: () => (go("clips"), setTimeout(() => composer.focus())),
  "/": () => (go("clips"), setTimeout(() => gallery.focusSearch())),
  "g c": () => go("clips"),
  "g q": () => go("queue"),
  "g r": () => go("runs"),
  t: switchTheme,
  "?": help.show,
});
keepTimesTrue();
startPulse();
begin();
