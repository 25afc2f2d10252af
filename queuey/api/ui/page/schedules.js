// Schedules: their next times and last runs; pause, trigger, and backfill with a dry run.

import {html, useState} from './html.js';
import {counted, number} from './format.js';
import {Action, Badge, Failure, Link, Table, Time, href, useAnswer} from './parts.js';
import {call} from './server.js';

const KINDS = /** @type {Record<string, string>} */ ({active: 'ok', paused: 'warn', finished: 'off'});

/** @param {any} schedule */
const when = (schedule) => schedule.cron ?? (schedule.every ? `every ${schedule.every} s` : `once, ${schedule.at}`);

/** @param {import('./app.js').ViewProps} props */
export const View = ({place}) => (place.name ? html`<${One} name=${place.name} />` : html`<${All} cursor=${place.cursor} />`);

/** @param {{cursor?: string}} props */
function All({cursor}) {
  const page = useAnswer(() => call('schedules', {query: {limit: 100, cursor}}), [cursor]);
  const now = page.answer?.at ?? Date.now();
  const columns = [
    {head: 'Schedule', cell: (/** @type {any} */ one) => html`<${Link} to=${{view: 'schedules', name: one.name}}>${one.name}<//>`},
    {head: 'State', cell: (/** @type {any} */ one) => html`<${Badge} kind=${KINDS[one.status] ?? 'off'}>${one.status}<//>`},
    {head: 'When', cell: (/** @type {any} */ one) => html`<code>${when(one)}</code>`},
    {head: 'Zone', cell: (/** @type {any} */ one) => one.timezone},
    {head: 'Next', cell: (/** @type {any} */ one) => html`<${Time} at=${one.next[0] ?? null} now=${now} />`},
    {head: 'Last', cell: (/** @type {any} */ one) => html`<${Time} at=${one.last_tick} now=${now} />`},
    {head: 'Job', cell: (/** @type {any} */ one) => html`<${Link} to=${{view: 'jobs', type: one.job.type}}>${one.job.type}<//> · ${one.queue}`},
    {head: 'Of', cell: (/** @type {any} */ one) => one.app ?? ''},
  ];
  return html`<div class="bar"><h1>Schedules</h1></div><${Failure} problem=${page.problem} />
    <${Table} title="All schedules" columns=${columns} rows=${page.answer?.data.schedules ?? []} id_of=${(/** @type {any} */ one) => one.name}
      empty=${page.answer ? 'No schedule is here. Make one with @app.job(cron="0 3 * * *"), or PUT /v1/schedules/{name}.' : 'Loading …'} />
    ${page.answer?.data.next && html`<p class="row end"><a class="button" href=${href({view: 'schedules', cursor: page.answer.data.next})}>Next page</a></p>`}`;
}

/** @param {{name: string}} props */
function One({name}) {
  const path = `schedules/${encodeURIComponent(name)}`;
  const schedule = useAnswer(() => call(path), [path]);
  if (schedule.problem && !schedule.answer) return html`<h1>Schedule ${name}</h1><${Failure} problem=${schedule.problem} />`;
  if (!schedule.answer) return html`<p>Loading …</p>`;
  const {data, at: now} = schedule.answer;
  const post = (/** @type {string} */ verb) => () => call(`${path}/${verb}`, {method: 'POST'}).then(({data: said}) => (said.outcome && said.outcome !== 'fired' ? `No job was made: ${said.outcome}.` : 'Done.'));
  const columns = [
    {head: 'Tick', cell: (/** @type {any} */ run) => html`<${Time} at=${run.tick} now=${now} />`},
    {head: 'Outcome', cell: (/** @type {any} */ run) => html`<${Badge} kind=${run.outcome === 'fired' ? 'ok' : 'warn'}>${run.outcome}<//>`},
    {head: 'At', cell: (/** @type {any} */ run) => html`<${Time} at=${run.at} now=${now} />`},
    {head: 'Job', cell: (/** @type {any} */ run) => (run.job_id ? html`<${Link} to=${{view: 'job', id: run.job_id}}><code>${run.job_id}</code><//>` : '–')},
    {head: 'Ticks', is_number: true, cell: (/** @type {any} */ run) => number(run.count)},
  ];
  return html`<div class="bar"><h1>${name}</h1><${Badge} kind=${KINDS[data.status] ?? 'off'}>${data.status}<//><span class="space"></span>
      <${Action} label="Trigger…" title=${`Trigger ${name}`} words="Its job is made now. The next ticks stay." act=${post('trigger')} done=${schedule.again} />
      ${data.status === 'paused'
        ? html`<${Action} label="Resume…" title=${`Resume ${name}`} words="It fires again." act=${post('resume')} done=${schedule.again} />`
        : html`<${Action} label="Pause…" title=${`Pause ${name}`} words="It does not fire until it is resumed." act=${post('pause')} done=${schedule.again} />`}
      <${Backfill} name=${name} path=${path} done=${schedule.again} /></div>
    <p class="note run"><b>Why</b> ${data.detail}</p>
    <div class="two">
      <${Table} title="Last runs" columns=${columns} rows=${data.runs} id_of=${(/** @type {any} */ run) => `${run.tick} ${run.at}`} empty="It has not fired yet." />
      <section class="panel" aria-label="Facts"><div class="head"><h2>Facts</h2></div><dl>
        <dt>When</dt><dd><code>${when(data)}</code> in ${data.timezone}</dd>
        <dt>Next</dt><dd>${data.next.map((/** @type {string} */ at) => html`<div><${Time} at=${at} now=${now} /></div>`)}</dd>
        <dt>Job</dt><dd>${data.job.type} · ${data.queue}</dd>
        <dt>While one runs</dt><dd>${data.overlap}</dd><dt>Missed ticks</dt><dd>${data.catch_up}</dd>
        ${data.pause_reason && html`<dt>Paused</dt><dd>${data.pause_reason}</dd>`}
        ${data.app && html`<dt>Declared by</dt><dd>${data.app}</dd>`}
      </dl></section></div>`;
}

/** @param {{name: string, path: string, done: () => void}} props */
function Backfill({name, path, done}) {
  const [span, set] = useState({from: '', to: '', found: ''});
  const body = (/** @type {boolean} */ isDry) => ({
    from: span.from && new Date(span.from).toISOString(),
    to: span.to && new Date(span.to).toISOString(),
    dry_run: isDry,
  });
  const send = (/** @type {boolean} */ isDry) => () => call(`${path}/backfill`, {method: 'POST', body: body(isDry)});
  const count = async () => {
    try {
      const {data} = await send(true)();
      set({...span, found: counted(data.ticks.length, 'tick')});
    } catch (problem) {
      set({...span, found: /** @type {any} */ (problem).message});
    }
  };
  const input = (/** @type {'from' | 'to'} */ field) => html`<label>${field} <input type="datetime-local" value=${span[field]}
    onInput=${(/** @type {any} */ event) => set({...span, [field]: event.target.value})} /></label>`;
  return html`<${Action} label="Backfill…" title=${`Backfill ${name}`} done=${done}
    words=${html`<span class="row">Makes the jobs of its ticks in the past. ${input('from')} ${input('to')}
      <button type="button" onClick=${count}>Count them</button> ${span.found}</span>`}
    act=${() => send(false)().then(({data}) => `${counted(data.fired, 'job')} made of ${counted(data.ticks.length, 'tick')}.`)} />`;
}
