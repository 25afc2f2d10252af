// Calls of the API, and the stream of frames that all views share. Paths are relative, so any prefix of a proxy works.

import {scriptUrl} from './scripts.js';

const API = '../v1/';
const POLL_MS = 3000;
const LATE_MS = 3000;

/** What the server answered when it refused a request. */
export class Problem extends Error {
  /** @param {number} status @param {string} detail @param {string} type */
  constructor(status, detail, type = '') {
    super(detail);
    this.status = status;
    this.type = type;
  }
}

/** @typedef {{data: any, text: string, at: number}} Answer `at`: the server's time, in ms. */

/**
 * One call. Raises Problem.
 * @param {string} path below /v1/
 * @param {{method?: string, query?: Record<string, any>, body?: any, signal?: AbortSignal}} [options]
 * @returns {Promise<Answer>}
 */
export async function call(path, {method = 'GET', query = {}, body, signal} = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '' && value !== null);
  const search = new URLSearchParams(given).toString();
  const headers = /** @type {Record<string, string>} */ (method === 'GET' ? {} : {'x-queuey-ui': '1'});
  if (body !== undefined) headers['content-type'] = 'application/json';
  const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  return send(`${API}${path}${search && `?${search}`}`, {method, headers, body: text, signal});
}

/** Log in with a key, or out without one. @param {string} [key] */
export async function session(key) {
  const headers = {'x-queuey-ui': '1', ...(key === undefined ? {} : {'content-type': 'application/json'})};
  const body = key === undefined ? undefined : JSON.stringify({key});
  await send('session', {method: key === undefined ? 'DELETE' : 'POST', headers, body});
}

/** @param {string} url @param {RequestInit} options @returns {Promise<Answer>} */
async function send(url, options) {
  let response;
  try {
    response = await fetch(url, {credentials: 'same-origin', cache: 'no-store', ...options});
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem(0, 'The server does not answer. It may be restarting, or the network is down.');
  }
  const text = await response.text();
  const at = Date.parse(response.headers.get('date') ?? '') || Date.now();
  let data = null;
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    if (response.ok) throw new Problem(response.status, 'The answer is not JSON. Is a proxy between?');
  }
  if (!response.ok) {
    throw new Problem(response.status, data?.detail ?? `The server answered ${response.status}.`, data?.type ?? '');
  }
  return {data, text, at};
}

// --- frames -----------------------------------------------------------------------------------------------------------

/**
 * @typedef {{at: string, queues: any[], workers: any[], totals: Record<string, number>, store_used: number}} Frame
 * @typedef {{frame: Frame | null, since: number, gone: string, refused: Problem | null}} Live
 * `since`: when the frame came, by the clock of the browser. `gone`: why none comes, or ''.
 */

/** @type {Live} */
let live = {frame: null, since: 0, gone: '', refused: null};
/** @type {Set<(live: Live) => void>} */
const listeners = new Set();
let paused = false;
let asking = false;

/** @param {Partial<Live>} change */
function tell(change) {
  live = {...live, ...change};
  for (const listener of listeners) listener(live);
}

/** Follow the frames. Returns how to stop. @param {(live: Live) => void} listener */
export function follow(listener) {
  listeners.add(listener);
  listener(live);
  return () => void listeners.delete(listener);
}

/** Stop at this frame, or go on. @param {boolean} value */
export function pause(value) {
  paused = value;
}

/** @param {Frame} frame */
function heard(frame) {
  if (!paused) tell({frame, since: Date.now(), gone: '', refused: null});
}

/** Begin. The stream is tried first; where a proxy holds it back, or there is none, the page polls. */
export async function begin() {
  const once = async () => (await call('pulse', {query: {once: 1}})).data;
  try {
    heard(await once());
  } catch (error) {
    const problem = /** @type {Problem} */ (error);
    if (problem.status === 401 || problem.status === 403) {
      tell({refused: problem});
      return;
    }
    tell({gone: problem.message});
  }
  stream(heard, (detail) => tell({gone: detail}));
  setInterval(() => {
    if (paused || asking || Date.now() - live.since < LATE_MS || document.visibilityState !== 'visible') return;
    asking = true;
    once().then(heard, (error) => tell({gone: error.message, refused: [401, 403].includes(error.status) ? error : null})).finally(() => (asking = false));
  }, POLL_MS);
}

/** One EventSource for all tabs of the browser, or one for this tab while it is visible. @param {(frame: Frame) => void} next @param {(detail: string) => void} gone */
function stream(next, gone) {
  if (globalThis.SharedWorker) {
    const {port} = new SharedWorker(scriptUrl('pulse-worker.js'), {name: 'queuey-pulse'});
    port.onmessage = ({data: [kind, text]}) => (kind === 'pulse' ? next(JSON.parse(text)) : gone(JSON.parse(text).detail));
    port.postMessage('on');
    addEventListener('pagehide', () => port.postMessage('off'));
    return;
  }
  /** @type {EventSource | null} */
  let source = null;
  const look = () => {
    source?.close();
    source = null;
    if (document.visibilityState !== 'visible') return;
    source = new EventSource(`${API}pulse`);
    source.addEventListener('pulse', (event) => next(JSON.parse(event.data)));
    source.addEventListener('gone', (event) => gone(JSON.parse(event.data).detail));
  };
  document.addEventListener('visibilitychange', look);
  look();
}
