/** What is sent for a clip: JSON, or a form where a picture goes with it. */

import { call } from "../api.js";

/** @typedef {Record<string, any>} Asked */

/**
 * @param {string} path
 * @param {Asked} asked
 * @param {File | null} picture
 * @param {string} key under which a repetition is the same submission
 * @returns {Promise<import("../shapes.js").Video>}
 */
export function submit(path, asked, picture, key) {
  const headers = { "Idempotency-Key": key };
  if (picture === null) return call("POST", path, { json: asked, headers });
  return call("POST", path, { form: formOf(asked, picture), headers, timeout_ms: 300_000 });
}

/** Lists and maps go as JSON, all else as plain text. @param {Asked} asked @param {File} picture */
function formOf(asked, picture) {
  const form = new FormData();
  for (const [name, value] of Object.entries(asked)) {
    form.set(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  form.set("input_reference", picture, picture.name || "picture");
  return form;
}

/** The same request has the same key until it was answered, so that a lost answer makes no second clip. */
export class Keys {
  #request = "";
  #key = "";

  /** @param {string} path @param {Asked} asked @param {File | null} picture */
  for(path, asked, picture) {
    const request = JSON.stringify([path, asked, picture && [picture.name, picture.size, picture.lastModified]]);
    if (request !== this.#request || !this.#key) this.#key = newKey();
    this.#request = request;
    return this.#key;
  }

  /** It was answered: the same again is meant as another one. */
  spend() {
    this.#key = "";
  }
}

/** `crypto.randomUUID` is there only over https and on this machine. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
