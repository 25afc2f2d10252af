// Types: how often, how well and how fast they run.

import {html} from './html.js';
import {duration, number} from './format.js';
import {Failure, Link, Table, Time, useAnswer} from './parts.js';
import {call} from './server.js';

/** @param {import('./app.js').ViewProps} props */
export function View({live}) {
  const page = useAnswer(() => call('types'), []);
  const now = page.answer?.at ?? Date.now();
  const named = page.answer?.data.types ?? [];
  const known = new Set(named.map((/** @type {any} */ one) => one.type));
  const idle = [...new Set(live.frame?.workers.flatMap((worker) => worker.types) ?? [])].filter((type) => !known.has(type)).sort();
  const rows = [...named, ...idle.map((type) => ({type, succeeded: 0, dead: 0, retried: 0, workers: []}))];
  const columns = [
    {head: 'Type', cell: (/** @type {any} */ one) => html`<${Link} to=${{view: 'jobs', type: one.type}}>${one.type}<//>`},
    {head: 'Succeeded', is_number: true, cell: (/** @type {any} */ one) => number(one.succeeded)},
    {head: 'Retried', is_number: true, cell: (/** @type {any} */ one) => number(one.retried)},
    {head: 'Died', is_number: true, cell: (/** @type {any} */ one) => html`<${Link} to=${{view: 'dead', type: one.type}}>${number(one.dead)}<//>`},
    {head: 'Failures', is_number: true, cell: (/** @type {any} */ one) => (one.failure_rate == null ? '–' : `${(100 * one.failure_rate).toFixed(1)} %`)},
    {head: 'Run p50', is_number: true, cell: (/** @type {any} */ one) => duration(one.run?.p50)},
    {head: 'Run p95', is_number: true, cell: (/** @type {any} */ one) => duration(one.run?.p95)},
    {head: 'Run p99', is_number: true, cell: (/** @type {any} */ one) => duration(one.run?.p99)},
    {head: 'Slowest', is_number: true, cell: (/** @type {any} */ one) => (one.slowest == null ? '–' : `≤ ${duration(one.slowest)}`)},
    {head: 'Last seen', cell: (/** @type {any} */ one) => html`<${Time} at=${one.last_seen ?? null} now=${now} />`},
  ];
  return html`<div class="bar"><h1>Types</h1></div>
    ${page.problem && page.problem.status !== 404 && html`<${Failure} problem=${page.problem} />`}
    <${Table} title="All types" columns=${columns} rows=${rows} id_of=${(/** @type {any} */ one) => one.type} empty="No worker knows a type yet." />`;
}
