// Jobs: the list with its filters, and actions on those that are selected.

import {html, useEffect, useState} from './html.js';
import {counted} from './format.js';
import {Action, Failure, Link, STATUSES, Status, Table, Time, filtered, href, useAnswer} from './parts.js';
import {call} from './server.js';

const PAGE = 100;
const FILTERS = ['queue', 'status', 'type', 'tag', 'dedupe_key', 'q', 'error', 'finished_after', 'finished_before'];
const LABELS = /** @type {Record<string, string>} */ ({dedupe_key: 'dedupe key', q: 'text'});

/** @param {Record<string, string>} place */
const filtersOf = (place) => Object.fromEntries(FILTERS.filter((name) => place[name]).map((name) => [name, place[name]]));

/** @param {import('./app.js').ViewProps} props */
export function View({place, go}) {
  const filters = filtersOf(place);
  const query = {...filters, limit: PAGE, cursor: place.cursor, fields: 'brief'};
  const page = useAnswer(() => call('jobs', {query}), [JSON.stringify(query)]);
  const [chosen, choose] = useState(/** @type {Set<string>} */ (new Set()));
  useEffect(() => choose(new Set()), [JSON.stringify(query)]);
  const jobs = page.answer?.data.jobs ?? [];
  const now = page.answer?.at ?? Date.now();
  const toggle = (/** @type {string} */ id) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    choose(next);
  };
  const columns = [
    {head: 'Select', cell: (/** @type {any} */ job) => html`<input type="checkbox" aria-label=${`Select ${job.id}`} checked=${chosen.has(job.id)} onChange=${() => toggle(job.id)} />`},
    {head: 'Job', cell: (/** @type {any} */ job) => html`<${Link} to=${{view: 'job', id: job.id}}><code>${job.id}</code><//>`},
    {head: 'Type', cell: (/** @type {any} */ job) => html`<${Link} to=${{...filters, view: 'jobs', type: job.type}}>${job.type}<//>`},
    {head: 'Queue', cell: (/** @type {any} */ job) => html`<${Link} to=${{...filters, view: 'jobs', queue: job.queue}}>${job.queue}<//>`},
    {head: 'Status', cell: (/** @type {any} */ job) => html`<${Status} status=${job.status} />`},
    {head: 'Attempts', is_number: true, cell: (/** @type {any} */ job) => `${job.attempts} of ${job.max_attempts}`},
    {head: 'Created', cell: (/** @type {any} */ job) => html`<${Time} at=${job.created_at} now=${now} />`},
    {head: 'Last error', cell: (/** @type {any} */ job) => html`<span class="error">${(job.last_error ?? '').slice(0, 120)}</span>`},
  ];
  const done = () => page.again();
  return html`<div class="bar"><h1>Jobs</h1><${Filters} filters=${filters} go=${go} /></div>
    <${Chips} filters=${filters} />
    <${Failure} problem=${page.problem} />
    ${place.cursor && page.problem && html`<p><${Link} to=${{...filters, view: 'jobs'}}>Begin the list anew<//></p>`}
    <${Selected} ids=${[...chosen]} filters=${filters} done=${done} />
    <${Table} title="Jobs" columns=${columns} rows=${jobs} id_of=${(/** @type {any} */ job) => job.id}
      note=${page.answer ? counted(jobs.length, 'job') + (page.answer.data.next ? ' on this page, there may be more' : '') : 'Loading …'}
      empty=${page.answer ? html`<${Nothing} filters=${filters} more=${page.answer.data.next} />` : 'Loading …'} />
    ${page.answer?.data.next && html`<p class="row end"><a class="button" href=${href({...filters, view: 'jobs', cursor: page.answer.data.next})}>Next page</a></p>`}`;
}

/** @param {{filters: Record<string, string>, more: any}} props */
function Nothing({filters, more}) {
  if (more) return 'None on this page. The search goes on with the next one.';
  const names = Object.keys(filters);
  if (!names.length) return 'No job is in the store.';
  return html`No job matches. Without one of the filters: ${names.map((name) => html`<${Link} to=${{...filters, view: 'jobs', [name]: undefined}}>${LABELS[name] ?? name}<//> `)}`;
}

/** @param {{filters: Record<string, string>}} props */
const Chips = ({filters}) =>
  html`<div class="row">${Object.entries(filters).map(([name, value]) => html`<span class="chip">${LABELS[name] ?? name}: <b>${value}</b>
    <a href=${href({...filters, view: 'jobs', [name]: undefined})} aria-label=${`Without ${LABELS[name] ?? name}`}>×</a></span>`)}</div>`;

/** @param {{filters: Record<string, string>, go: (to: Record<string, any>) => void}} props */
function Filters({filters, go}) {
  const send = (/** @type {any} */ event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.currentTarget));
    go({...filters, view: 'jobs', ...given});
  };
  return html`<form class="row" onSubmit=${send} aria-label="Filters">
    <label>Status <select name="status"><option value="">any</option>${Object.entries(STATUSES).filter(([name]) => name !== 'cancelling').map(([name, [words]]) => html`<option value=${name} selected=${filters.status === name}>${words}</option>`)}</select></label>
    <label>Queue <input name="queue" value=${filters.queue ?? ''} size="10" /></label>
    <label>Type <input name="type" value=${filters.type ?? ''} size="12" /></label>
    <label>Tag <input name="tag" value=${filters.tag ?? ''} size="10" /></label>
    <button class="main">Filter</button></form>`;
}

const ACTIONS = /** @type {Array<[string, string, string, string, boolean]>} */ ([
  ['Cancel', 'cancel', 'cancelled', 'Waiting jobs are cancelled at once, running ones are asked to stop.', false],
  ['Retry', 'retry', 'retried', 'Dead jobs wait again, scheduled ones become due now.', false],
  ['Delete', 'delete', 'deleted', 'Jobs that have ended are removed. Nothing brings them back.', true],
]);

/** Acts on the selected jobs, or on all that match the filters. @param {{ids: string[], filters: Record<string, string>, done: () => void}} props */
function Selected({ids, filters, done}) {
  const isAll = ids.length === 0;
  if (isAll && !Object.keys(filters).length) return html`<p class="hint">Select jobs, or filter them, to cancel, retry or delete them.</p>`;
  const body = isAll ? filters : {ids};
  const words = isAll
    ? `All jobs with ${Object.entries(filters).map(([name, value]) => `${LABELS[name] ?? name} ${value}`).join(' and ')}.`
    : `${counted(ids.length, 'selected job')}.`;
  const label = isAll ? 'all that match' : counted(ids.length, 'job');
  return html`<div class="row" role="group" aria-label="Actions">${ACTIONS.map(([name, path, verb, what, isDanger]) => html`<${Action} key=${name}
    label=${`${name} ${label}…`} title=${`${name} jobs`} words=${`${words} ${what}`} done=${done} is_danger=${isDanger}
    typed=${isDanger ? 'delete' : undefined} ...${filtered(`jobs/${path}`, body, verb)} />`)}</div>`;
}
