// One job: why it is where it is, its timeline, its attempts, its texts.

import {html} from './html.js';
import {between, counted, duration, number, size} from './format.js';
import {fieldsOf} from './json.js';
import {Action, Copy, Failure, Link, Status, Table, Text, Time, useAnswer} from './parts.js';
import {call} from './server.js';

/** @param {import('./app.js').ViewProps} props */
export function View({place}) {
  const path = `jobs/${encodeURIComponent(place.id ?? '')}`;
  const job = useAnswer(() => call(path), [path]);
  const why = useAnswer(() => call(`${path}/explain`), [path]);
  const log = useAnswer(() => call(`${path}/log`), [path]);
  const again = () => {
    job.again();
    why.again();
    log.again();
  };
  if (job.problem && !job.answer) return html`<h1>Job ${place.id}</h1><${Failure} problem=${job.problem} />`;
  if (!job.answer) return html`<p>Loading …</p>`;
  const {data, text, at: now} = job.answer;
  const texts = fieldsOf(text);
  return html`<div class="bar"><h1><code>${data.id}</code></h1><${Status} status=${data.status} /><span class="space"></span>
      <button onClick=${again}>Refresh</button><${Actions} job=${data} path=${path} done=${again} /></div>
    <${Failure} problem=${job.problem} />
    <${Why} answer=${why.answer} problem=${why.problem} />
    <${Timeline} job=${data} now=${now} />
    <${Attempts} job=${data} now=${now} />
    <div class="two">
      <section class="panel" aria-label="Payload"><div class="head"><h2>Payload</h2><small>${size(texts.payload?.length ?? 0)}</small></div><${Text} text=${texts.payload ?? 'null'} name="payload" is_json=${true} /></section>
      <${Facts} job=${data} now=${now} />
    </div>
    ${data.status === 'succeeded' && html`<section class="panel" aria-label="Result"><div class="head"><h2>Result</h2></div><${Text} text=${texts.result ?? 'null'} name="result" is_json=${true} /></section>`}
    ${data.checkpoint && html`<section class="panel" aria-label="Checkpoint"><div class="head"><h2>Checkpoint</h2></div><${Text} text=${texts.checkpoint} name="checkpoint" is_json=${true} /></section>`}
    <${Log} answer=${log.answer} />`;
}

/** @param {{answer: any, problem: any}} props */
function Why({answer, problem}) {
  if (problem) return html`<${Failure} problem=${problem} />`;
  if (!answer) return null;
  return html`<div class="note run"><b>Why</b><span class="words">${answer.data.detail}</span></div>`;
}

/** @param {{job: any, path: string, done: () => void}} props */
function Actions({job, path, done}) {
  const post = (/** @type {string} */ verb) => () => call(`${path}/${verb}`, {method: 'POST'}).then(() => 'Done.');
  const curl = `curl -s ${new URL(`../v1/jobs/${job.id}`, location.href).href}`;
  return html`
    ${['dead_letter', 'scheduled'].includes(job.status) && html`<${Action} label=${job.status === 'scheduled' ? 'Run now…' : 'Retry…'} title="Retry this job"
      words=${job.status === 'scheduled' ? 'It becomes due now.' : 'It waits again, with all its attempts.'} act=${post('retry')} done=${done} />`}
    ${['queued', 'scheduled', 'running'].includes(job.status) && html`<${Action} label="Cancel…" title="Cancel this job"
      words="A waiting job is cancelled at once. A running one is asked to stop." act=${post('cancel')} done=${done} />`}
    ${['succeeded', 'dead_letter', 'cancelled'].includes(job.status) && html`<${Action} label="Delete…" title="Delete this job" is_danger=${true}
      words="Nothing brings it back." act=${() => call(path, {method: 'DELETE'}).then(() => 'Deleted.')} done=${done} />`}
    <${Copy} text=${curl} label="Copy as curl" />`;
}

/** The waits and the runs of its attempts, from its creation to its end. @param {{job: any, now: number}} props */
function Timeline({job, now}) {
  const begin = Date.parse(job.created_at);
  const end = job.finished_at ? Date.parse(job.finished_at) : now;
  const all = Math.max(1, end - begin);
  const place = (/** @type {string} */ time) => (100 * (Date.parse(time) - begin)) / all;
  const runs = job.attempts_log.filter((/** @type {any} */ run) => run.started_at);
  if (job.status === 'running' && job.started_at) runs.push({started_at: job.started_at, ended_at: new Date(now).toISOString(), error: null});
  const running = runs.reduce((/** @type {number} */ sum, /** @type {any} */ run) => sum + (between(run.started_at, run.ended_at) ?? 0), 0);
  const words = `${counted(runs.length, 'run')}: ${duration(all / 1000)} since it was created, of which it ran for ${duration(running)}.`;
  return html`<section class="panel" aria-label="Timeline"><div class="head"><h2>Timeline</h2><small>${words}</small></div>
    <svg class="timeline" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=${words}>
      <rect class="wait" x="0" y="3" width="100" height="2" />
      ${runs.map((/** @type {any} */ run) => html`<rect class=${run.error ? 'bad' : 'run'} y="1" height="6" x=${place(run.started_at)}
        width=${Math.max(0.4, place(run.ended_at ?? new Date(now).toISOString()) - place(run.started_at))} />`)}
    </svg></section>`;
}

/** @param {{job: any, now: number}} props */
function Attempts({job, now}) {
  const detail = (/** @type {number} */ attempt) => job.errors.find((/** @type {any} */ error) => error.attempt === attempt);
  const columns = [
    {head: 'Attempt', cell: (/** @type {any} */ run) => number(run.attempt)},
    {head: 'Started', cell: (/** @type {any} */ run) => html`<${Time} at=${run.started_at} now=${now} />`},
    {head: 'Ran', is_number: true, cell: (/** @type {any} */ run) => duration(between(run.started_at, run.ended_at))},
    {head: 'Worker', cell: (/** @type {any} */ run) => run.worker ?? '–'},
    {head: 'Ended with', cell: (/** @type {any} */ run) => {
      const error = detail(run.attempt);
      if (!error) return run.error ?? 'no error';
      return html`<details><summary><span class="error">${error.kind}: ${error.message.slice(0, 200)}</span></summary>${error.detail && html`<${Text} text=${error.detail} name=${`error of attempt ${run.attempt}`} />`}</details>`;
    }},
  ];
  return html`<${Table} title="Attempts" columns=${columns} rows=${job.attempts_log} id_of=${(/** @type {any} */ run) => `${run.attempt} ${run.ended_at}`}
    empty="No attempt has ended yet." note=${`${job.attempts} of ${job.max_attempts} failed`} />`;
}

/** @param {{job: any, now: number}} props */
function Facts({job, now}) {
  const schedule = job.metadata?.['queuey.schedule'];
  const facts = /** @type {Array<[string, any]>} */ ([
    ['Type', html`<${Link} to=${{view: 'jobs', type: job.type}}>${job.type}<//>`],
    ['Queue', html`<${Link} to=${{view: 'queues', name: job.queue}}>${job.queue}<//> · ${job.priority}`],
    ['Created', html`<${Time} at=${job.created_at} now=${now} />`],
    ['Runs at', job.run_at && html`<${Time} at=${job.run_at} now=${now} />`],
    ['Started', job.started_at && html`<${Time} at=${job.started_at} now=${now} />`],
    ['Finished', job.finished_at && html`<${Time} at=${job.finished_at} now=${now} />`],
    ['Lease until', job.lease_expires_at && html`<${Time} at=${job.lease_expires_at} now=${now} />`],
    ['Worker', job.worker],
    ['Crashes', job.crashes || null],
    ['Progress', job.progress && JSON.stringify(job.progress)],
    ['Dedupe key', job.dedupe_key],
    ['Unique', job.unique && JSON.stringify(job.unique)],
    ['Batch', job.batch_key],
    ['Schedule', schedule && html`<${Link} to=${{view: 'schedules', name: schedule}}>${schedule}<//>`],
    ['Tags', job.tags.length ? job.tags.map((/** @type {string} */ tag) => html`<${Link} to=${{view: 'jobs', tag}}>${tag}<//> `) : null],
    ['Metadata', job.metadata && JSON.stringify(job.metadata)],
    ['Trace', job.traceparent && html`<code>${job.traceparent}</code>`],
    ['Same error', job.fingerprint && html`<${Link} to=${{view: 'dead', fingerprint: job.fingerprint}}>the group<//>`],
  ]);
  return html`<section class="panel" aria-label="Facts"><div class="head"><h2>Facts</h2></div><dl>
    ${facts.filter(([, value]) => value !== null && value !== undefined && value !== '').map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl></section>`;
}

/** @param {{answer: any}} props */
function Log({answer}) {
  const lines = answer?.data.lines ?? [];
  if (!lines.length) return null;
  const text = lines.map((/** @type {any} */ line) => `${line.at} attempt ${line.attempt} ${line.level}: ${line.text}`).join('\n');
  return html`<section class="panel" aria-label="Log"><div class="head"><h2>Log</h2><small>${counted(lines.length, 'line')}</small></div><${Text} text=${text} name="log" /></section>`;
}
