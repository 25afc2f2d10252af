// Dead letters: the groups of one error first, then the jobs of a group.

import {html} from './html.js';
import {counted, number} from './format.js';
import {Action, Failure, Link, Table, Time, filtered, href, useAnswer} from './parts.js';
import {Replay} from './overview.js';
import {call} from './server.js';

const PAGE = 100;

/** @param {import('./app.js').ViewProps} props */
export function View({place}) {
  const filters = {queue: place.queue, type: place.type, fingerprint: place.fingerprint};
  const by = JSON.stringify(filters);
  const groups = useAnswer(() => call('dlq/groups', {query: {queue: place.queue, type: place.type}}), [by]);
  const jobs = useAnswer(() => call('dlq', {query: {...filters, limit: PAGE, cursor: place.cursor}}), [by, place.cursor]);
  const done = () => {
    groups.again();
    jobs.again();
  };
  const now = groups.answer?.at ?? Date.now();
  const all = groups.answer?.data.groups ?? [];
  const shown = place.fingerprint ? all.filter((/** @type {any} */ group) => group.fingerprint === place.fingerprint) : all;
  const columns = [
    {head: 'Type', cell: (/** @type {any} */ group) => html`<${Link} to=${{...filters, view: 'dead', fingerprint: group.fingerprint}}>${group.type}<//>`},
    {head: 'Error', cell: (/** @type {any} */ group) => html`<span class="error">${group.message.slice(0, 300)}</span>`},
    {head: 'Jobs', is_number: true, cell: (/** @type {any} */ group) => number(group.count)},
    {head: 'First', cell: (/** @type {any} */ group) => html`<${Time} at=${group.oldest} now=${now} />`},
    {head: 'Last', cell: (/** @type {any} */ group) => html`<${Time} at=${group.newest} now=${now} />`},
    {head: 'Actions', cell: (/** @type {any} */ group) => html`<span class="row"><${Replay} group=${group} done=${done} />
      <${Action} label="Delete…" title=${`Delete jobs of ${group.type}`} is_danger=${true} typed="delete" done=${done}
        words=${`These jobs died of: ${group.message}. Nothing brings them back.`}
        ...${filtered('dlq/delete', {fingerprint: group.fingerprint}, 'deleted')} /></span>`},
  ];
  const looked = groups.answer && !groups.answer.data.complete ? `of the first ${number(groups.answer.data.looked_at)} jobs` : 'by error';
  return html`<div class="bar"><h1>Dead letters</h1>${Object.values(filters).some(Boolean) && html`<${Link} to=${{view: 'dead'}}>Show all<//>`}</div>
    <${Failure} problem=${groups.problem} />
    <${Table} title="Groups" columns=${columns} rows=${shown} id_of=${(/** @type {any} */ group) => group.fingerprint} note=${looked}
      empty=${groups.answer ? 'Nothing has died. Jobs land here when all attempts are spent.' : 'Loading …'} />
    <${Failure} problem=${jobs.problem} />
    <${Jobs} answer=${jobs.answer} filters=${filters} />`;
}

/** @param {{answer: any, filters: Record<string, any>}} props */
function Jobs({answer, filters}) {
  const now = answer?.at ?? Date.now();
  const jobs = answer?.data.jobs ?? [];
  const columns = [
    {head: 'Job', cell: (/** @type {any} */ job) => html`<${Link} to=${{view: 'job', id: job.id}}><code>${job.id}</code><//>`},
    {head: 'Type', cell: (/** @type {any} */ job) => job.type},
    {head: 'Queue', cell: (/** @type {any} */ job) => job.queue},
    {head: 'Died', cell: (/** @type {any} */ job) => html`<${Time} at=${job.finished_at} now=${now} />`},
    {head: 'Error', cell: (/** @type {any} */ job) => html`<span class="error">${(job.last_error ?? '').slice(0, 200)}</span>`},
  ];
  return html`<${Table} title="Jobs" columns=${columns} rows=${jobs} id_of=${(/** @type {any} */ job) => job.id}
      note=${counted(jobs.length, 'job')} empty=${answer ? 'No dead job matches.' : 'Loading …'} />
    ${answer?.data.next && html`<p class="row end"><a class="button" href=${href({...filters, view: 'dead', cursor: answer.data.next})}>Next page</a></p>`}`;
}
