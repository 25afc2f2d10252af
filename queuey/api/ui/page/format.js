// Numbers, times and durations in words, by the language of the browser.

const numbers = new Intl.NumberFormat();

/** @param {number | null | undefined} value */
export const number = (value) => (value == null ? '–' : numbers.format(value));

/** `1 job`, `1,198 jobs`. @param {number} count @param {string} noun */
export const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? '' : 's'}`;

const UNITS = /** @type {const} */ ([['d', 86400], ['h', 3600], ['m', 60], ['s', 1]]);

/** Seconds in at most two units: `4 m 12 s`, `310 ms`. @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds == null) return '–';
  if (seconds < 0.9995) return `${Math.round(1000 * Math.max(0, seconds))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  let rest = Math.round(seconds);
  const parts = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count || parts.length) parts.push(count ? `${count} ${unit}` : '');
    if (parts.length === 2) break;
  }
  return parts.filter(Boolean).join(' ');
}

/** A time by the local clock; its date too, unless it is near. @param {string | null | undefined} time @param {number} now in ms */
export function moment(time, now) {
  if (!time) return '–';
  const at = new Date(time);
  const seconds = (now - at.getTime()) / 1000;
  if (Math.abs(seconds) < 3600) return seconds >= 0 ? `${duration(seconds)} ago` : `in ${duration(-seconds)}`;
  const isNear = Math.abs(seconds) < 43200;
  return isNear ? at.toLocaleTimeString() : at.toLocaleString(undefined, {dateStyle: 'medium', timeStyle: 'medium'});
}

/** The seconds from one time to another; null if one is missing. @param {string | null} from @param {string | null} to */
export const between = (from, to) => (from && to ? (Date.parse(to) - Date.parse(from)) / 1000 : null);

/** Bytes in kB or MB. @param {number} bytes */
export const size = (bytes) =>
  bytes < 1000 ? `${bytes} bytes` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
