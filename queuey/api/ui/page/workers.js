// Workers: servers and pull workers, their room, what they run, and threads that do not return.

import {html} from './html.js';
import {counted, number} from './format.js';
import {Action, Badge, Link, Meter, Table, Time} from './parts.js';
import {call} from './server.js';

/** @param {import('./app.js').ViewProps} props */
export function View({live}) {
  const {frame} = live;
  if (!frame) return null;
  const now = Date.parse(frame.at);
  const columns = [
    {head: 'Worker', cell: (/** @type {any} */ worker) => worker.name},
    {head: 'State', cell: (/** @type {any} */ worker) => html`<${State} worker=${worker} />`},
    {head: 'Kind', cell: (/** @type {any} */ worker) => (worker.key ? `${worker.kind} · key ${worker.key}` : worker.kind)},
    {head: 'Slots', cell: (/** @type {any} */ worker) => worker.slots > 0 && html`<${Meter} busy=${worker.busy} all=${worker.slots} />`},
    {head: 'Busy', is_number: true, cell: (/** @type {any} */ worker) => worker.slots ? `${number(worker.busy)} / ${number(worker.slots)}` : number(worker.busy)},
    {head: 'Runs', cell: (/** @type {any} */ worker) => html`<${Jobs} ids=${worker.jobs} />`},
    {head: 'Queues', cell: (/** @type {any} */ worker) => worker.queues.map((/** @type {string} */ name) => html`<${Link} to=${{view: 'queues', name}}>${name}<//> `)},
    {head: 'Types', cell: (/** @type {any} */ worker) => worker.types.slice(0, 8).join(', ') + (worker.types.length > 8 ? ` and ${worker.types.length - 8} more` : '')},
    {head: 'Since', cell: (/** @type {any} */ worker) => html`<${Time} at=${worker.started_at} now=${now} />`},
    {head: 'Version', cell: (/** @type {any} */ worker) => worker.version},
    {head: 'Action', cell: (/** @type {any} */ worker) => !worker.quiet && !worker.gone && html`<${Action} label="Quiet…" title=${`Make ${worker.name} quiet`}
      words="It finishes its jobs and claims no more. Start it again to end that." act=${() => call(`workers/${encodeURIComponent(worker.name)}/quiet`, {method: 'POST'}).then(() => 'It is quiet now.')} />`},
  ];
  const slots = counted(frame.totals.slots, 'slot');
  return html`<div class="bar"><h1>Workers</h1></div><${Table} title="All workers" columns=${columns} rows=${frame.workers}
    id_of=${(/** @type {any} */ worker) => worker.name} note=${`${number(frame.totals.busy)} of ${slots} busy`}
    empty="No worker is here. Start one: queuey work --url … --queues …" />`;
}

/** @param {{worker: any}} props */
function State({worker}) {
  if (worker.gone) return html`<${Badge} kind="bad">gone<//>`;
  if (worker.stuck_threads.length) return html`<${Badge} kind="bad">${counted(worker.stuck_threads.length, 'thread')} stuck<//>`;
  if (worker.quiet) return html`<${Badge} kind="warn">quiet<//>`;
  if (worker.busy >= worker.slots && worker.slots) return html`<${Badge} kind="run">full<//>`;
  return html`<${Badge} kind="ok">has room<//>`;
}

/** @param {{ids: any[]}} props */
const Jobs = ({ids}) =>
  html`${ids.slice(0, 3).map((job) => html`<${Link} to=${{view: 'job', id: job.id ?? job}}><code>${job.type ?? job.id ?? job}</code><//> `)}${ids.length > 3 ? `and ${ids.length - 3} more` : ''}`;
