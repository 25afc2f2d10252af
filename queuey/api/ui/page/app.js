// The frame around the views: where we are, the numbers that all share, the keys.

import {html, render, useEffect, useRef, useState} from './html.js';
import {number} from './format.js';
import {Failure, Key, Link, href} from './parts.js';
import {begin, call, follow, pause, session} from './server.js';
/**
 * @typedef {{live: import('./server.js').Live, place: Record<string, string>, me: any,
 *   go: (to: Record<string, any>) => void}} ViewProps `me`: what GET /v1/me said, or null
 * A view: its name in the navigation ('' for none), its key after `g`, and its module, which is loaded when it is shown.
 * @type {Record<string, [string, string, () => Promise<{View: (props: ViewProps) => any}>]>}
 */
const VIEWS = {
  overview: ['Overview', 'o', () => import('./overview.js')],
  jobs: ['Jobs', 'j', () => import('./jobs.js')],
  queues: ['Queues', 'q', () => import('./queues.js')],
  dead: ['Dead letters', 'd', () => import('./dead.js')],
  schedules: ['Schedules', 's', () => import('./schedules.js')],
  workers: ['Workers', 'w', () => import('./workers.js')],
  types: ['Types', 't', () => import('./types.js')],
  activity: ['Activity', 'a', () => import('./activity.js')],
  job: ['', '', () => import('./job.js')],
  help: ['', '', () => import('./help.js')],
};
const GONE_MS = 3000;
const WORDS = /^(queue|type|tag|status):(\S+)$/;
const ID = /^[0-9A-Z]{28}$/;
const THEMES = ['system', 'light', 'dark'];

/** @returns {Record<string, string>} */
const placeOf = () => Object.fromEntries(new URLSearchParams(location.search));

function App() {
  const [place, setPlace] = useState(placeOf());
  const [live, setLive] = useState(/** @type {import('./server.js').Live} */ ({frame: null, since: 0, gone: '', refused: null}));
  const [me, setMe] = useState(/** @type {any} */ (null));
  const [isLive, setLiveOn] = useState(true);
  const go = (/** @type {Record<string, any>} */ to) => {
    history.pushState(null, '', href(to));
    setPlace(placeOf());
    scrollTo(0, 0);
  };
  const toggle = () => {
    pause(isLive);
    setLiveOn(!isLive);
  };
  useEffect(() => follow(setLive), []);
  useEffect(() => {
    begin();
    call('me').then(({data}) => setMe(data), () => setMe(null));
    const back = () => setPlace(placeOf());
    addEventListener('popstate', back);
    return () => removeEventListener('popstate', back);
  }, []);
  useEffect(() => onLinks(go), []);
  useEffect(() => onKeys(go, toggle), [isLive]);
  const name = place.view && VIEWS[place.view] ? place.view : 'overview';
  const [title, , load] = VIEWS[name];
  const View = useView(name, load);
  useEffect(() => {
    document.title = `${place.name ?? place.id ?? (title || name)} – Queuey`;
  }, [name, place.name, place.id]);
  if (live.refused) return html`<${Login} problem=${live.refused} />`;
  return html`<a class="skip" href="#main">Skip to the content</a>
    <${Top} name=${name} live=${live} me=${me} go=${go} is_live=${isLive} toggle=${toggle} />
    <main id="main" tabindex="-1">
      ${place.view && !VIEWS[place.view] && html`<p class="note warn" role="alert">There is no view ${place.view}. This is the overview.</p>`}
      <${Gone} live=${live} is_live=${isLive} />
      ${View && html`<${View} live=${live} place=${place} me=${me} go=${go} />`}
    </main>`;
}

/**
 * The view of this name, once its module is there. @param {string} name @param {() => Promise<{View: any}>} load
 */
function useView(name, load) {
  const [views, set] = useState(/** @type {Record<string, any>} */ ({}));
  useEffect(() => {
    if (!views[name]) load().then(({View}) => set((before) => ({...before, [name]: View})));
  }, [name]);
  return views[name];
}

/** @param {{name: string, live: import('./server.js').Live, me: any, go: (to: any) => void, is_live: boolean, toggle: () => void}} props */
function Top({name, live, me, go, is_live: isLive, toggle}) {
  const [theme, setTheme] = useState(localStorage.getItem('queuey-theme') ?? 'system');
  const dead = live.frame?.totals.dead ?? 0;
  const turn = () => {
    const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem('queuey-theme', next);
    show(next);
    setTheme(next);
  };
  const search = (/** @type {any} */ event) => {
    event.preventDefault();
    const input = event.currentTarget.elements.search;
    go(placeOfSearch(input.value.trim()));
    input.blur();
  };
  return html`<header><b>Queuey</b>
    <nav aria-label="Views">${Object.entries(VIEWS).filter(([, [words]]) => words).map(([view, [words]]) => html`<${Link} to=${{view}} current=${view === name}>${words}${view === 'dead' && dead > 0 ? html` <span class="count">${number(dead)}</span>` : ''}<//>`)}</nav>
    <form role="search" onSubmit=${search}><input name="search" aria-label="Search jobs: an id, queue:mail, type:mail.send, or a text" placeholder="Search  /" maxlength="200" /></form>
    <button aria-pressed=${isLive} onClick=${toggle}><i class=${isLive ? 'on' : 'off'}></i>${isLive ? 'Live' : 'Stopped'}</button>
    <button onClick=${turn} aria-label=${`Theme: ${theme}`}>${theme}</button>
    <${Link} to=${{view: 'help'}}>?<//>
    <${Who} me=${me} /></header>`;
}

/** @param {{me: any}} props */
function Who({me}) {
  if (!me) return null;
  if (me.via !== 'session') return html`<span class="who">${me.open ? 'open' : me.name}</span>`;
  return html`<span class="who">${me.name}</span><button onClick=${() => session().finally(() => location.reload())}>Log out</button>`;
}

/** @param {string} text */
function placeOfSearch(text) {
  if (ID.test(text)) return {view: 'job', id: text};
  /** @type {Record<string, string>} */
  const place = {view: 'jobs'};
  const rest = [];
  for (const word of text.split(/\s+/)) {
    const found = WORDS.exec(word);
    if (found) place[found[1]] = found[2];
    else rest.push(word);
  }
  return {...place, q: rest.join(' ')};
}

/** Says that the numbers are old, and why. @param {{live: import('./server.js').Live, is_live: boolean}} props */
function Gone({live, is_live: isLive}) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((count) => count + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  const isOld = live.frame && Date.now() - live.since > GONE_MS + (live.gone ? 0 : GONE_MS);
  document.documentElement.dataset.old = isOld && isLive ? 'yes' : 'no';
  if (!live.frame) return live.gone ? html`<p class="note bad" role="alert">${live.gone}</p>` : html`<p>Loading …</p>`;
  if (!isLive) return html`<p class="note warn">The numbers are stopped: as of ${new Date(live.frame.at).toLocaleTimeString()}.</p>`;
  if (!isOld) return null;
  return html`<p class="note bad" role="status">As of ${new Date(live.frame.at).toLocaleTimeString()}: no newer numbers come. ${live.gone}</p>`;
}

/** @param {{problem: any}} props */
const Login = ({problem}) => html`<main class="empty"><h1>Queuey</h1><p>Log in with an API key that has the scope <code>read</code>.</p>
  ${problem.status === 403 && html`<${Failure} problem=${problem} />`}
  <${Key} done=${() => location.reload()} /></main>`;

/** Follows links to views without loading the page anew. @param {(to: Record<string, any>) => void} go */
function onLinks(go) {
  const follow = (/** @type {MouseEvent} */ event) => {
    const link = /** @type {HTMLAnchorElement | null} */ (/** @type {Element} */ (event.target).closest('a[href^="?"]'));
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(Object.fromEntries(new URLSearchParams(link.search)));
  };
  addEventListener('click', follow);
  return () => removeEventListener('click', follow);
}

/** @param {(to: Record<string, any>) => void} go @param {() => void} toggle */
function onKeys(go, toggle) {
  let before = '';
  const pressed = (/** @type {KeyboardEvent} */ event) => {
    const target = /** @type {Element} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest('input, select, textarea, dialog')) return;
    const view = before === 'g' && Object.entries(VIEWS).find(([, [, key]]) => key === event.key)?.[0];
    before = event.key;
    if (view) go({view});
    else if (event.key === 'p') toggle();
    else if (event.key === '?') go({view: 'help'});
    else if (event.key === '/') {
      event.preventDefault();
      /** @type {HTMLElement | null} */ (document.querySelector('input[name=search]'))?.focus();
    }
  };
  addEventListener('keydown', pressed);
  return () => removeEventListener('keydown', pressed);
}

/** @param {string} theme */
function show(theme) {
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

show(localStorage.getItem('queuey-theme') ?? 'system');
render(html`<${App} />`, /** @type {Element} */ (document.getElementById('app')));
