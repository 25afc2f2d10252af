// The queues, and one of them: its lanes, who serves it, who paused it and why.

import {html, useState} from './html.js';
import {counted, duration, number} from './format.js';
import {Action, Link, Table, Time} from './parts.js';
import {State, waiting} from './overview.js';
import {call} from './server.js';

/** @param {{name: string, is_paused: boolean}} props */
export function PauseOrResume({name, is_paused: isPaused}) {
  const [reason, set] = useState('');
  const path = `queues/${encodeURIComponent(name)}`;
  if (isPaused) {
    return html`<${Action} label="Resume…" title=${`Resume ${name}`} words=${`Workers claim jobs of ${name} again.`}
      act=${() => call(`${path}/resume`, {method: 'POST'}).then(() => 'Resumed.')} />`;
  }
  return html`<${Action} label="Pause…" title=${`Pause ${name}`}
    words=${html`<span>No further job of ${name} starts. Those that run go on.
      <label>Reason <input value=${reason} onInput=${(/** @type {any} */ event) => set(event.target.value)} maxlength="200" /></label></span>`}
    act=${() => call(`${path}/pause`, {method: 'POST', body: reason ? {reason} : {}}).then(() => 'Paused.')} />`;
}

/** @param {import('./app.js').ViewProps} props */
export function View({live, place}) {
  const {frame} = live;
  if (!frame) return null;
  const now = Date.parse(frame.at);
  const queue = frame.queues.find((one) => one.name === place.name);
  if (place.name && queue) return html`<${Queue} queue=${queue} now=${now} />`;
  const columns = [
    {head: 'Queue', cell: (/** @type {any} */ one) => html`<${Link} to=${{view: 'queues', name: one.name}}>${one.name}<//>`},
    {head: 'State', cell: (/** @type {any} */ one) => html`<${State} queue=${one} />`},
    {head: 'High', is_number: true, cell: (/** @type {any} */ one) => number(one.high)},
    {head: 'Default', is_number: true, cell: (/** @type {any} */ one) => number(one.default)},
    {head: 'Low', is_number: true, cell: (/** @type {any} */ one) => number(one.low)},
    {head: 'Oldest', is_number: true, cell: (/** @type {any} */ one) => duration(one.oldest_age)},
    {head: 'Running', is_number: true, cell: (/** @type {any} */ one) => number(one.running)},
    {head: 'Scheduled', is_number: true, cell: (/** @type {any} */ one) => number(one.scheduled)},
    {head: 'Dead', is_number: true, cell: (/** @type {any} */ one) => number(one.dead_letter)},
    {head: 'Workers', is_number: true, cell: (/** @type {any} */ one) => number(one.workers.length)},
    {head: 'Action', cell: (/** @type {any} */ one) => html`<${PauseOrResume} name=${one.name} is_paused=${one.paused} />`},
  ];
  return html`<div class="bar"><h1>Queues</h1></div>
    ${place.name && html`<p class="note warn" role="alert">There is no queue ${place.name}, or your key does not see it.</p>`}
    <${Table} title="All queues" columns=${columns} rows=${frame.queues} id_of=${(/** @type {any} */ one) => one.name}
      empty="No queue is here yet: the first job makes one." />`;
}

/** @param {{queue: any, now: number}} props */
function Queue({queue, now}) {
  const {name} = queue;
  const missing = Object.entries(queue.waiting_for_handler);
  return html`<div class="bar"><h1>${name}</h1><${State} queue=${queue} /><span class="space"></span>
      <${PauseOrResume} name=${name} is_paused=${queue.paused} />
      <${Action} label="Purge…" title=${`Purge ${name}`} is_danger=${true} typed=${name}
        words="All jobs of this queue that wait or are scheduled are cancelled."
        act=${() => call(`queues/${encodeURIComponent(name)}/purge`, {method: 'POST', body: {}}).then(({data}) => `${counted(data.cancelled, 'job')} cancelled.${data.more ? ' There are more: do it again to go on.' : ''}`)} /></div>
    ${queue.paused && html`<p class="note warn">Paused ${queue.paused_by ? `by ${queue.paused_by} ` : ''}<${Time} at=${queue.paused_at} now=${now} />${queue.pause_reason ? `: ${queue.pause_reason}` : ''}</p>`}
    ${waiting(queue) > 0 && !queue.workers.length && html`<p class="note bad">No worker serves ${name}. Start one: <code>queuey work --url … --queues ${name}</code></p>`}
    <section class="panel" aria-label="Facts"><dl>
      <dt>Waiting</dt><dd><${Link} to=${{view: 'jobs', queue: name, status: 'queued'}}>${number(waiting(queue))}<//>: ${number(queue.high)} high, ${number(queue.default)} default, ${number(queue.low)} low</dd>
      <dt>Oldest</dt><dd>${duration(queue.oldest_age)}</dd>
      <dt>Running</dt><dd><${Link} to=${{view: 'jobs', queue: name, status: 'running'}}>${number(queue.running)}<//></dd>
      <dt>Scheduled</dt><dd><${Link} to=${{view: 'jobs', queue: name, status: 'scheduled'}}>${number(queue.scheduled)}<//></dd>
      <dt>Dead</dt><dd><${Link} to=${{view: 'dead', queue: name}}>${number(queue.dead_letter)}<//></dd>
      <dt>Finished, kept</dt><dd>${number(queue.finished)}</dd>
      <dt>Workers</dt><dd>${queue.workers.join(', ') || 'none'}</dd>
      ${missing.length > 0 && html`<dt>No handler for</dt><dd>${missing.map(([type, count]) => html`<${Link} to=${{view: 'jobs', type, status: 'queued'}}>${type}<//> (${number(/** @type {number} */ (count))}) `)}</dd>`}
    </dl></section>`;
}
