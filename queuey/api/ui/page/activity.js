// Activity: who did what, newest first.

import {html} from './html.js';
import {number} from './format.js';
import {Failure, Key, Table, Time, href, useAnswer} from './parts.js';
import {call} from './server.js';

/** @param {import('./app.js').ViewProps} props */
export function View({place, me}) {
  if (!me) return null;
  if (me.grants.includes('admin')) return html`<${Log} place=${place} />`;
  return html`<div class="bar"><h1>Activity</h1></div><p>This list needs a key with the scope <code>admin</code>.</p>
    <${Key} done=${() => location.reload()} />`;
}

/** @param {{place: Record<string, string>}} props */
function Log({place}) {
  const page = useAnswer(() => call('audit', {query: {limit: 100, cursor: place.cursor}}), [place.cursor]);
  const now = page.answer?.at ?? Date.now();
  const columns = [
    {head: 'When', cell: (/** @type {any} */ entry) => html`<${Time} at=${entry.at} now=${now} />`},
    {head: 'Who', cell: (/** @type {any} */ entry) => entry.name},
    {head: 'Action', cell: (/** @type {any} */ entry) => entry.action},
    {head: 'Target', cell: (/** @type {any} */ entry) => entry.target ?? ''},
    {head: 'Filter', cell: (/** @type {any} */ entry) => (entry.filter ? JSON.stringify(entry.filter) : '')},
    {head: 'Jobs', is_number: true, cell: (/** @type {any} */ entry) => number(entry.number)},
    {head: 'Outcome', cell: (/** @type {any} */ entry) => entry.outcome},
  ];
  return html`<div class="bar"><h1>Activity</h1></div><${Failure} problem=${page.problem} />
    <${Table} title="Actions" columns=${columns} rows=${page.answer?.data.entries ?? []} id_of=${(/** @type {any} */ entry) => entry.id} empty="Nobody has done anything yet." />
    ${page.answer?.data.next && html`<p class="row end"><a class="button" href=${href({view: 'activity', cursor: page.answer.data.next})}>Next page</a></p>`}`;
}
