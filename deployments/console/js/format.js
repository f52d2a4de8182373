/** Numbers, durations and times as people read them. */

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const ABSOLUTE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });

/** @param {number} value */
export const number = (value) => NUMBER.format(value);

/** "1 clip", "1,024 clips". @param {number} howMany @param {string} noun */
export const count = (howMany, noun) => `${NUMBER.format(howMany)} ${noun}${howMany === 1 ? "" : "s"}`;

/**
 * "0.8 s", "42 s", "3 min 10 s", "2 h 05 min", "3 d 4 h".
 * @param {number} seconds
 */
export function duration(seconds) {
  if (seconds < 9.95) return `${(Math.round(seconds * 10) / 10).toString()} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return pair(whole, 60, "min", 1, "s");
  if (whole < 172800) return pair(whole, 3600, "h", 60, "min");
  return pair(whole, 86400, "d", 3600, "h");
}

/** @param {number} seconds @param {number} big @param {string} bigName @param {number} small @param {string} smallName */
function pair(seconds, big, bigName, small, smallName) {
  const rest = Math.floor((seconds % big) / small);
  return `${Math.floor(seconds / big)} ${bigName}${rest ? ` ${rest} ${smallName}` : ""}`;
}

/**
 * An estimate, rounded to what an estimate is worth: "about 5 s", "about 40 s", "about 3 min".
 * @param {number} seconds
 */
export function about(seconds) {
  if (seconds < 2) return "a moment";
  if (seconds < 10) return `about ${Math.round(seconds)} s`;
  if (seconds < 55) return `about ${Math.round(seconds / 5) * 5} s`;
  if (seconds < 5400) return `about ${Math.max(1, Math.round(seconds / 60))} min`;
  if (seconds < 172800) return `about ${Math.round(seconds / 3600)} h`;
  return `about ${Math.round(seconds / 86400)} d`;
}

/** "812 B", "1.4 MB". @param {number} bytes */
export function size(bytes) {
  let value = bytes;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000) return `${Number(value.toPrecision(3))} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

/** "1st", "2nd", "11th". @param {number} position */
export function ordinal(position) {
  const ending = { 1: "st", 2: "nd", 3: "rd" };
  const isTeen = position % 100 >= 11 && position % 100 <= 13;
  return NUMBER.format(position) + (isTeen ? "th" : (ending[/** @type {1} */ (position % 10)] ?? "th"));
}

/**
 * Costs span from fractions of a cent to hundreds.
 * @param {number} cost
 * @param {string | null | undefined} currency
 */
export function money(cost, currency) {
  const digits = cost === 0 || cost >= 0.1 ? cost.toFixed(2) : cost.toPrecision(2);
  return `${Number(digits) === 0 ? "0" : digits}${currency ? ` ${currency}` : ""}`;
}

/** @param {number} at seconds since 1970 */
export const absolute = (at) => ABSOLUTE.format(new Date(at * 1000));

/** @param {number} at seconds since 1970 @param {number} [now] */
export function relative(at, now = Date.now() / 1000) {
  const seconds = at - now;
  if (Math.abs(seconds) < 5) return "now";
  for (const [unit, length] of /** @type {[Intl.RelativeTimeFormatUnit, number][]} */ (UNITS)) {
    if (Math.abs(seconds) >= length) return RELATIVE.format(Math.round(seconds / length), unit);
  }
  return RELATIVE.format(Math.round(seconds), "second");
}

const UNITS = [
  ["year", 31557600],
  ["month", 2629800],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];
