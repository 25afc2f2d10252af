// Help: the keys, and where to read on.

import {html} from './html.js';

export const KEYS = /** @type {Array<[string, string]>} */ ([
  ['/', 'search'],
  ['g o', 'overview'],
  ['g j', 'jobs'],
  ['g q', 'queues'],
  ['g d', 'dead letters'],
  ['g s', 'schedules'],
  ['g w', 'workers'],
  ['g t', 'types'],
  ['g a', 'activity'],
  ['p', 'stop and go on with the live numbers'],
  ['?', 'this help'],
]);

export const View = () => html`<div class="bar"><h1>Help</h1></div>
  <section class="panel" aria-label="Keys"><div class="head"><h2>Keys</h2><small>not while you type</small></div><dl>
    ${KEYS.map(([keys, words]) => html`<dt><kbd>${keys}</kbd></dt><dd>${words}</dd>`)}</dl></section>
  <p>The search takes the id of a job, <code>queue:mail</code>, <code>type:mail.send</code>, <code>tag:customer:42</code>,
    <code>status:dead_letter</code>, or a text.</p>
  <p>The numbers are those of <code>queuey top</code>. All that the page does, <a href="../docs">the API</a> and the command line do too.</p>`;
