/** The API. Every call either returns what the server said or throws an ApiError that a person can read. */

import { connection } from "./connection.js";

/** @typedef {import("./shapes.js").Fault} Fault */
/** @typedef {import("./shapes.js").Video} Video */

const TIMEOUT_MS = 30_000;
// Statuses by which a proxy says that what stands behind it is away.
const AWAY = new Set([502, 503, 504]);

export class ApiError extends Error {
  /**
   * @param {number} status 0 where no answer came
   * @param {Fault} fault
   * @param {Fault[]} [faults] all that were found
   * @param {number | null} [retryAfter_s]
   */
  constructor(status, fault, faults = [fault], retryAfter_s = null) {
    super(fault.message);
    this.status = status;
    this.fault = fault;
    this.faults = faults;
    this.retryAfter_s = retryAfter_s;
  }

  /** Whether it may not have reached the server, so that the same may be sent again. */
  get isUncertain() {
    return this.status === 0 || AWAY.has(this.status);
  }
}

/** Called when the server no longer knows who is asking. @type {() => void} */
let onSignedOut = () => {};

/** @param {() => void} listener */
export function whenSignedOut(listener) {
  onSignedOut = listener;
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{json?: unknown, form?: FormData, headers?: Record<string, string>, timeout_ms?: number}} [options]
 * @returns {Promise<any>}
 */
export async function call(method, path, { json, form, headers = {}, timeout_ms = TIMEOUT_MS } = {}) {
  const answer = await send(path, {
    method,
    headers: json === undefined ? headers : { "Content-Type": "application/json", ...headers },
    body: json === undefined ? form : JSON.stringify(json),
    signal: AbortSignal.timeout(timeout_ms),
    cache: "no-store",
  });
  const body = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.ok) return body;
  if (answer.status === 401 && path !== "/v1/session") onSignedOut();
  throw errorOf(answer, body);
}

/** @param {string} path @param {RequestInit} request */
async function send(path, request) {
  /** @type {Response} */
  let answer;
  try {
    answer = await fetch(path, request);
  } catch (error) {
    const isLate = error instanceof DOMException && error.name === "TimeoutError";
    if (!isLate) connection.failed();
    const message = isLate ? "The server took too long to answer." : "The server cannot be reached.";
    throw new ApiError(0, { code: isLate ? "timeout" : "unreachable", message, advice: "Try again in a moment." });
  }
  if (AWAY.has(answer.status)) connection.failed();
  else connection.succeeded();
  return answer;
}

/** @param {Response} answer @param {any} body */
function errorOf(answer, body) {
  const retryAfter = Number(answer.headers.get("Retry-After")) || null;
  const fault = body?.error ?? { code: `http_${answer.status}`, message: `The server answered ${answer.status}.` };
  return new ApiError(answer.status, fault, fault.errors?.length ? fault.errors : [fault], retryAfter);
}

const videoPath = (/** @type {string} */ id, tail = "") => `/v1/videos/${encodeURIComponent(id)}${tail}`;

export const videos = {
  /**
   * Newest first.
   * @param {{after?: string | null, limit?: number, status?: string | null, order?: "asc" | "desc"}} [query]
   * @returns {Promise<import("./shapes.js").Page<Video>>}
   */
  list: ({ after = null, limit = 24, status = null, order = "desc" } = {}) => {
    const query = new URLSearchParams({ limit: String(limit), order });
    if (after) query.set("after", after);
    if (status) query.set("status", status);
    return call("GET", `/v1/videos?${query}`);
  },
  /** @param {string} id @returns {Promise<Video>} */
  get: (id) => call("GET", videoPath(id)),
  /** @param {string} id @returns {Promise<Video>} */
  cancel: (id) => call("POST", videoPath(id, "/cancel")),
  /** @param {string} id @param {string} key @returns {Promise<Video>} */
  retry: (id, key) => call("POST", videoPath(id, "/retry"), { headers: { "Idempotency-Key": key } }),
  /** @param {string} id */
  remove: (id) => call("DELETE", videoPath(id), { timeout_ms: 120_000 }),
  /** @param {string} id @param {"video" | "thumbnail" | "spritesheet"} variant */
  content: (id, variant = "video") => videoPath(id, `/content?variant=${variant}`),
  /** @param {string} id @param {number} step */
  preview: (id, step) => videoPath(id, `/preview?step=${step}`),
  /** @param {string} id */
  events: (id) => videoPath(id, "/events"),
};

/** @returns {Promise<import("./shapes.js").Session>} */
export const getSession = () => call("GET", "/v1/session");
/** @param {string} key @returns {Promise<import("./shapes.js").Session>} */
export const signIn = (key) => call("POST", "/v1/session", { json: { key } });
export const signOut = () => call("DELETE", "/v1/session");
/** @returns {Promise<import("./shapes.js").Page<import("./shapes.js").Model>>} */
export const getModels = () => call("GET", "/v1/models");
/** @returns {Promise<import("./shapes.js").Queue>} */
export const getQueue = () => call("GET", "/v1/queue");
/** @param {"pause" | "resume"} action @returns {Promise<import("./shapes.js").Queue>} */
export const steerQueue = (action) => call("POST", `/v1/queue/${action}`);
/** @returns {Promise<import("./shapes.js").Page<import("./shapes.js").Run>>} */
export const getRuns = () => call("GET", "/v1/runs");
