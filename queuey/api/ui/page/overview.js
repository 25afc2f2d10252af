// The first screen: what is wrong, then the numbers, then the charts, then the queues.

import {html, useEffect, useMemo, useState} from './html.js';
import {Chart} from './charts.js';
import {counted, duration, number} from './format.js';
import {Action, Badge, Copy, Failure, Link, Meter, Table, filtered, useAnswer} from './parts.js';
import {problemsOf} from './problems.js';
import {call} from './server.js';
import {PauseOrResume} from './queues.js';

const RANGES = /** @type {Array<[string, number, number]>} */ ([
  ['15 min', 900, 60],
  ['1 h', 3600, 60],
  ['24 h', 86400, 1800],
  ['7 d', 604800, 10800],
  ['30 d', 2592000, 43200],
]);
const FIRST = {type: 'text.reverse', payload: {text: 'hello'}};
const REFRESH_MS = 30_000;

/** @param {import('./app.js').ViewProps} props */
export function View({live, place}) {
  const {frame} = live;
  const groups = useAnswer(() => call('dlq/groups'), []);
  const range = RANGES.find(([name]) => name === place.range) ?? RANGES[1];
  const stats = useAnswer(() => call('stats', {query: spanOf(range)}), [range[0]]);
  useEffect(() => {
    const timer = setInterval(() => {
      groups.again();
      stats.again();
    }, REFRESH_MS);
    return () => clearInterval(timer);
  }, [range[0]]);
  if (!frame) return null;
  const dead = groups.answer?.data.groups ?? [];
  const troubles = problemsOf(frame, dead);
  const refresh = () => groups.again();
  if (!frame.queues.length) return html`<${Empty} />`;
  return html`<div class="bar"><h1>Overview</h1>
      <div class="group" role="group" aria-label="Time range">${RANGES.map(([name]) => html`<${Link} to=${{view: 'overview', range: name}} current=${name === range[0]}>${name}<//>`)}</div></div>
    ${troubles.length === 0 && html`<p class="note ok"><${Badge} kind="ok">Healthy<//> Nothing is paused with jobs waiting, falls behind or dies in numbers.</p>`}
    ${troubles.map((trouble) => html`<${Note} key=${trouble.words} trouble=${trouble} done=${refresh} />`)}
    <${Tiles} frame=${frame} stats=${stats.answer?.data} />
    <${Charts} stats=${stats} />
    <${Queues} frame=${frame} />
    <div class="two">
      <${Died} groups=${dead} problem=${groups.problem} done=${refresh} />
      <${Workers} workers=${frame.workers} />
    </div>`;
}

/** @param {[string, number, number]} range */
function spanOf([, seconds, step]) {
  const to = Math.ceil(Date.now() / 1000 / step) * step;
  return {from: new Date((to - seconds) * 1000).toISOString(), to: new Date(to * 1000).toISOString(), step};
}

/** @param {{trouble: import('./problems.js').Trouble, done: () => void}} props */
function Note({trouble, done}) {
  const {group, queue, type, worker} = trouble;
  return html`<div class=${`note ${trouble.kind}`}><${Badge} kind=${trouble.kind}>${trouble.label}<//>
    <span class="words">${trouble.words}</span>
    ${group && html`<${Link} to=${{view: 'dead', fingerprint: group.fingerprint}}>See the group<//><${Replay} group=${group} done=${done} />`}
    ${queue && html`<${Link} to=${{view: 'jobs', queue, status: 'queued'}}>See the jobs<//>`}
    ${queue && trouble.is_paused && html`<${PauseOrResume} name=${queue} is_paused=${true} />`}
    ${type && html`<${Link} to=${{view: 'jobs', type, status: 'queued'}}>See the jobs<//>`}
    ${worker && html`<${Link} to=${{view: 'workers'}}>See the workers<//>`}
  </div>`;
}

/** Replays a group, with a dry run first. @param {{group: any, done: () => void}} props */
export function Replay({group, done}) {
  const body = {fingerprint: group.fingerprint};
  return html`<${Action} label=${`Replay ${number(group.count)}…`} title=${`Replay jobs of ${group.type}`} done=${done}
    words=${`These jobs died of: ${group.message}. They wait again, each with all its attempts.`}
    ...${filtered('dlq/replay', body, 'replayed')} />`;
}

/** @param {{frame: any, stats: any}} props */
function Tiles({frame, stats}) {
  const {totals} = frame;
  const oldest = Math.max(-1, ...frame.queues.map((/** @type {any} */ queue) => queue.oldest_age ?? -1));
  const total = stats?.totals;
  const ended = total ? total.succeeded + total.dead : 0;
  const tiles = [
    ['Waiting', number(totals.waiting), oldest >= 0 ? `oldest ${duration(oldest)}` : 'nothing waits', {view: 'jobs', status: 'queued'}],
    ['Running', number(totals.running), `of ${counted(totals.slots, 'slot')}`, {view: 'jobs', status: 'running'}],
    ['Scheduled', number(totals.scheduled), 'for later, or for a retry', {view: 'jobs', status: 'scheduled'}],
    ['Succeeded', total ? number(total.succeeded) : '–', total && ended ? `${((100 * total.succeeded) / ended).toFixed(1)} % of those that ended` : 'in this time', {view: 'jobs', status: 'succeeded'}],
    ['Wait p95', duration(total?.wait?.p95), total?.wait ? `p50 ${duration(total.wait.p50)}` : 'until a job starts', {view: 'types'}],
    ['Dead', number(totals.dead), total ? `+${number(total.dead)} in this time` : 'dead letters', {view: 'dead'}],
  ];
  return html`<div class="tiles">${tiles.map(([name, value, words, to]) => html`<a class="tile" href=${`?${new URLSearchParams(/** @type {any} */ (to))}`}>
    <span class="name">${name}</span><span class="value">${value}</span><span class="words">${words}</span></a>`)}</div>`;
}

/** @param {{stats: {answer: any, problem: any}}} props */
function Charts({stats}) {
  const made = useMemo(() => {
    const points = stats.answer?.data.points;
    if (!points?.length) return null;
    const of = (/** @type {(point: any) => number | null} */ value) => points.map(value);
    return {
      times: points.map((/** @type {any} */ point) => Date.parse(point.at) / 1000),
      counts: [
        {name: 'accepted', color: '--run', values: of((point) => point.accepted)},
        {name: 'succeeded', color: '--ok', values: of((point) => point.succeeded)},
        {name: 'died', color: '--bad', values: of((point) => point.dead)},
      ],
      times_of: [
        {name: 'wait p95', color: '--wait', values: of((point) => point.wait?.p95 ?? null)},
        {name: 'run p95', color: '--warn', values: of((point) => point.run?.p95 ?? null)},
      ],
    };
  }, [stats.answer]);
  if (stats.problem?.status === 404) return null;
  if (stats.problem) return html`<${Failure} problem=${stats.problem} />`;
  if (!made) return null;
  const {totals, step} = stats.answer.data;
  const every = duration(step);
  return html`<div class="two">
    <${Chart} title=${`Jobs per ${every}`} times=${made.times} lines=${made.counts} unit=${number}
      caption=${`${number(totals.accepted)} accepted, ${number(totals.succeeded)} succeeded, ${number(totals.dead)} died.`} />
    <${Chart} title="Wait and run, p95" times=${made.times} lines=${made.times_of} unit=${duration} is_log=${true}
      caption=${totals.wait ? `95 % of the jobs waited at most ${duration(totals.wait.p95)}, and ran at most ${duration(totals.run?.p95)}.` : 'No job has started in this time.'} />
  </div>`;
}

/** @param {{frame: any}} props */
function Queues({frame}) {
  const columns = [
    {head: 'Queue', cell: (/** @type {any} */ queue) => html`<${Link} to=${{view: 'queues', name: queue.name}}>${queue.name}<//>`},
    {head: 'State', cell: (/** @type {any} */ queue) => html`<${State} queue=${queue} />`},
    {head: 'Waiting', is_number: true, cell: (/** @type {any} */ queue) => number(waiting(queue))},
    {head: 'Oldest', is_number: true, cell: (/** @type {any} */ queue) => duration(queue.oldest_age)},
    {head: 'Running', is_number: true, cell: (/** @type {any} */ queue) => number(queue.running)},
    {head: 'Scheduled', is_number: true, cell: (/** @type {any} */ queue) => number(queue.scheduled)},
    {head: 'Dead', is_number: true, cell: (/** @type {any} */ queue) => html`<${Link} to=${{view: 'dead', queue: queue.name}}>${number(queue.dead_letter)}<//>`},
    {head: 'Action', cell: (/** @type {any} */ queue) => html`<${PauseOrResume} name=${queue.name} is_paused=${queue.paused} />`},
  ];
  return html`<${Table} title="Queues" columns=${columns} rows=${frame.queues} id_of=${(/** @type {any} */ queue) => queue.name} />`;
}

/** @param {any} queue */
export const waiting = (queue) => queue.high + queue.default + queue.low;

/** @param {{queue: any}} props */
export function State({queue}) {
  if (queue.paused) return html`<${Badge} kind="warn">paused<//>`;
  if (!queue.workers.length) return html`<${Badge} kind=${waiting(queue) ? 'bad' : 'off'}>no worker<//>`;
  if (queue.oldest_age > 300) return html`<${Badge} kind="warn">falls behind<//>`;
  return html`<${Badge} kind="ok">healthy<//>`;
}

/** @param {{groups: any[], problem: any, done: () => void}} props */
function Died({groups, problem, done}) {
  const columns = [
    {head: 'Type', cell: (/** @type {any} */ group) => html`<${Link} to=${{view: 'dead', fingerprint: group.fingerprint}}>${group.type}<//>`},
    {head: 'Error', cell: (/** @type {any} */ group) => html`<span class="error">${group.message.slice(0, 200)}</span>`},
    {head: 'Jobs', is_number: true, cell: (/** @type {any} */ group) => number(group.count)},
    {head: 'Action', cell: (/** @type {any} */ group) => html`<${Replay} group=${group} done=${done} />`},
  ];
  return html`<div><${Failure} problem=${problem} /><${Table} title="What jobs died of" columns=${columns} rows=${groups.slice(0, 8)}
    id_of=${(/** @type {any} */ group) => group.fingerprint} empty="Nothing has died. Jobs land here when all attempts are spent." /></div>`;
}

/** @param {{workers: any[]}} props */
function Workers({workers}) {
  const columns = [
    {head: 'Worker', cell: (/** @type {any} */ worker) => html`<${Link} to=${{view: 'workers'}}>${worker.name}<//>`},
    {head: 'Slots', cell: (/** @type {any} */ worker) => worker.slots > 0 && html`<${Meter} busy=${worker.busy} all=${worker.slots} />`},
    {head: 'Busy', is_number: true, cell: (/** @type {any} */ worker) => worker.slots ? `${worker.busy} / ${worker.slots}` : number(worker.busy)},
  ];
  return html`<${Table} title="Workers" columns=${columns} rows=${workers} id_of=${(/** @type {any} */ worker) => worker.name}
    empty="No worker is here. Start one: queuey work --url … --queues …" />`;
}

function Empty() {
  const [state, set] = useState(/** @type {any} */ ({}));
  const url = new URL('../v1/jobs', location.href).href;
  const command = `curl -s ${url} -H 'content-type: application/json' -d '${JSON.stringify(FIRST)}'`;
  const send = () => call('jobs', {method: 'POST', body: FIRST}).then(({data}) => set({id: data.job_id}), (problem) => set({problem}));
  return html`<div class="empty"><h1>No job has come yet</h1>
    <p>Send the first one. Without an App of your own, the built-in handler <code>text.reverse</code> runs it.</p>
    <pre>${command}</pre>
    <div class="row"><${Copy} text=${command} /><button class="main" onClick=${send}>Send it for me</button><a href="../docs">The API</a></div>
    ${state.id && html`<p role="status">Sent: <${Link} to=${{view: 'job', id: state.id}}>${state.id}<//></p>`}
    <${Failure} problem=${state.problem} /></div>`;
}
