// The parts of which the views are made: badges, tables, dialogs, texts.

import {html, useEffect, useRef, useState} from './html.js';
import {counted, moment} from './format.js';
import {indented, visible} from './json.js';
import {call, session} from './server.js';

const FOLDED = 2000;
const SHOWN = 64_000;

/** The words and the colours of the statuses of a job. */
export const STATUSES = /** @type {Record<string, [string, string]>} */ ({
  queued: ['waits', 'wait'],
  scheduled: ['scheduled', 'wait'],
  running: ['running', 'run'],
  cancelling: ['cancelling', 'run'],
  succeeded: ['succeeded', 'ok'],
  dead_letter: ['dead letter', 'bad'],
  cancelled: ['cancelled', 'off'],
});

/** @param {{kind: string, children?: any}} props kind: ok, bad, warn, run, wait or off */
export const Badge = ({kind, children}) => html`<span class=${`badge ${kind}`}>${children}</span>`;

/** @param {{status: string}} props */
export function Status({status}) {
  const [words, kind] = STATUSES[status] ?? [status, 'off'];
  return html`<${Badge} kind=${kind}>${words}<//>`;
}

/** A time, in words; the exact one, in UTC, is its title. @param {{at: string | null, now: number}} props */
export const Time = ({at, now}) => (at ? html`<time datetime=${at} title=${at}>${moment(at, now)}</time>` : html`<span>–</span>`);

/** A link to a view. @param {{to: Record<string, any>, children?: any, current?: boolean}} props */
export const Link = ({to, children, current}) =>
  html`<a href=${href(to)} aria-current=${current ? 'page' : undefined}>${children}</a>`;

/** @param {Record<string, any>} to */
export function href(to) {
  const given = Object.entries(to).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return `?${new URLSearchParams(given)}`;
}

/**
 * @param {{title: string, columns: Array<{head: string, is_number?: boolean, cell: (row: any) => any}>, rows: any[],
 *   id_of: (row: any) => string, empty?: any, note?: any}} props
 */
export function Table({title, columns, rows, id_of: idOf, empty, note}) {
  return html`<section class="panel" aria-label=${title}>
    <div class="head"><h2>${title}</h2>${note && html`<small>${note}</small>`}</div>
    ${rows.length === 0
      ? html`<p class="nothing">${empty ?? 'Nothing is here.'}</p>`
      : html`<div class="scroll" tabindex="0" role="region" aria-label=${`${title}, table`}><table>
          <thead><tr>${columns.map((column) => html`<th scope="col" class=${column.is_number ? 'right' : ''}>${column.head}</th>`)}</tr></thead>
          <tbody>${rows.map((row) => html`<tr key=${idOf(row)}>
            ${columns.map((column) => html`<td class=${column.is_number ? 'right' : ''}>${column.cell(row)}</td>`)}
          </tr>`)}</tbody>
        </table></div>`}
  </section>`;
}

/** A text of any length: folded above 2 kB, above 64 kB to be downloaded. @param {{text: string, name: string, is_json?: boolean}} props */
export function Text({text, name, is_json: isJson}) {
  const [isOpen, open] = useState(false);
  const isFolded = text.length > FOLDED && !isOpen;
  const shown = isFolded ? text.slice(0, FOLDED) : text.slice(0, SHOWN);
  const url = () => URL.createObjectURL(new Blob([text], {type: 'text/plain'}));
  return html`<pre tabindex="0" aria-label=${name}>${visible(isJson && !isFolded && text.length <= SHOWN ? indented(shown) : shown)}${isFolded ? ' …' : ''}</pre>
    <div class="row end">
      ${isFolded && html`<button onClick=${() => open(true)}>Show ${text.length > SHOWN ? 'the first 64 kB' : 'all'}</button>`}
      ${text.length > FOLDED &&
      html`<a class="button" download=${`${name}.txt`} href="#" onClick=${(/** @type {any} */ event) => (event.currentTarget.href = url())}>Download</a>`}
      <${Copy} text=${text} />
    </div>`;
}

/** Copies by the clipboard, and where that needs HTTPS, by a selection. @param {{text: string, label?: string}} props */
export function Copy({text, label = 'Copy'}) {
  const [done, say] = useState('');
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = Object.assign(document.createElement('textarea'), {value: text});
      document.body.append(area);
      area.select();
      document.execCommand('copy');
      area.remove();
    }
    say('Copied');
  };
  return html`<button onClick=${copy}>${done || label}</button>`;
}

/** What went wrong. @param {{problem: {message: string, status?: number} | null}} props */
export const Failure = ({problem}) =>
  problem && html`<div class="note bad" role="alert"><${Badge} kind="bad">Failed<//> <span>${problem.message}</span></div>`;

/**
 * Data that a view has fetched: it stays while newer is on its way, and `again` fetches it once more.
 * @param {() => Promise<any>} fetcher @param {any[]} by
 */
export function useAnswer(fetcher, by) {
  const [state, set] = useState(/** @type {{answer: any, problem: any}} */ ({answer: null, problem: null}));
  const turn = useRef(0);
  const again = () => {
    const own = ++turn.current;
    return fetcher().then(
      (answer) => own === turn.current && set({answer, problem: null}),
      (problem) => own === turn.current && set((before) => ({...before, problem})),
    );
  };
  useEffect(() => {
    set({answer: null, problem: null});
    again();
    return () => void turn.current++;
  }, by);
  return {...state, again};
}

/**
 * A button that acts after a dialog: it says what happens, and how many by a dry run. A name must be typed where
 * nothing brings it back.
 * @param {{label: string, title: string, words: any, act: () => Promise<any>, dry?: () => Promise<string>, typed?: string,
 *   is_danger?: boolean, ask?: string, done?: () => void}} props
 */
export function Action({label, title, words, act, dry, typed, is_danger: isDanger, done}) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [state, set] = useState(/** @type {any} */ ({}));
  const open = async () => {
    set({});
    dialog.current?.showModal();
    if (dry) dry().then((found) => set({found}), (problem) => set({problem}));
  };
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    set((/** @type {any} */ before) => ({...before, busy: true, problem: null}));
    try {
      const said = await act();
      set({said: typeof said === 'string' ? said : 'Done.'});
      done?.();
    } catch (problem) {
      set({problem, needs_key: [401, 403].includes(/** @type {any} */ (problem).status)});
    }
  };
  const isTyped = !typed || state.typed === typed;
  return html`<button class=${isDanger ? 'danger' : ''} onClick=${open}>${label}</button>
    <dialog ref=${dialog} aria-label=${title}><form method="dialog" onSubmit=${send}>
      <h2>${title}</h2>
      <p>${words}</p>
      ${dry && html`<p aria-live="polite">${state.found ?? (state.problem ? '' : 'Counting …')}</p>`}
      ${typed && !state.said && html`<label>Type <code>${typed}</code> <input value=${state.typed ?? ''}
        onInput=${(/** @type {any} */ event) => set({...state, typed: event.target.value})} /></label>`}
      <${Failure} problem=${state.problem} />
      <p aria-live="polite">${state.said ?? ''}</p>
      <div class="row end">
        <button type="button" onClick=${() => dialog.current?.close()}>${state.said ? 'Close' : 'Cancel'}</button>
        ${!state.said && html`<button class=${isDanger ? 'danger main' : 'main'} disabled=${state.busy || !isTyped}>${label.replace('…', '')}</button>`}
      </div>
    </form>${state.needs_key && html`<${Key} done=${() => set({})} />`}</dialog>`;
}

/** Asks for a key, and begins a session with it. @param {{done: () => void}} props */
export function Key({done}) {
  const [state, set] = useState(/** @type {any} */ ({key: ''}));
  const log = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      await session(state.key);
      done();
    } catch (problem) {
      set({...state, problem});
    }
  };
  return html`<form class="key" onSubmit=${log}>
    <input type="text" autocomplete="username" value="queuey" readonly hidden />
    <label>API key <input type="password" autocomplete="current-password" value=${state.key}
      onInput=${(/** @type {any} */ event) => set({key: event.target.value})} /></label>
    <button class="main">Log in</button>
    <${Failure} problem=${state.problem} />
  </form>`;
}

/** Busy of all, as a bar. @param {{busy: number, all: number}} props */
export const Meter = ({busy, all}) =>
  html`<meter min="0" max=${all || 1} value=${busy} aria-label=${`${busy} of ${all} slots busy`}></meter>`;

/** What an action with a dry run says. @param {string} path @param {any} body @param {string} verb */
export const filtered = (path, body, verb) => ({
  dry: async () => {
    const {data} = await call(path, {method: 'POST', body: {...body, dry_run: true}});
    return `${counted(data.matched, 'job')} match${data.matched === 1 ? 'es' : ''}${data.more ? ', and there are more' : ''}.`;
  },
  act: async () => {
    const {data} = await call(path, {method: 'POST', body});
    return `${counted(data.done, 'job')} ${verb} of ${data.matched} that matched.${data.more ? ' There are more: do it again to go on.' : ''}`;
  },
});
