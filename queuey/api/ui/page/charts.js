// Charts by uPlot, which is loaded when the first one is shown. Beside each are a caption in words and a table.

import {html, useEffect, useRef, useState} from './html.js';
import {scriptUrl} from './scripts.js';

/** @type {Promise<any> | undefined} */
let loading;

function load() {
  loading ??= new Promise((resolve, reject) => {
    const style = Object.assign(document.createElement('link'), {rel: 'stylesheet', href: 'vendor/uplot.css'});
    const script = document.createElement('script');
    script.src = scriptUrl('vendor/uplot.js');
    script.onload = () => resolve(/** @type {any} */ (globalThis).uPlot);
    script.onerror = () => reject(new Error('uplot.js did not load'));
    document.head.append(style, script);
  });
  return loading;
}

/**
 * @param {{title: string, caption: string, times: number[], lines: Array<{name: string, color: string, values: Array<number | null>}>,
 *   unit: (value: number) => string, is_log?: boolean}} props `times` in seconds
 */
export function Chart({title, caption, times, lines, unit, is_log: isLog}) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const [isTable, show] = useState(false);
  useEffect(() => {
    let plot = /** @type {any} */ (null);
    let isGone = false;
    load().then((uPlot) => {
      if (isGone || !place.current) return;
      const style = getComputedStyle(document.documentElement);
      const [line, dim] = ['--line', '--dim'].map((name) => style.getPropertyValue(name));
      const axis = {stroke: dim, grid: {stroke: line, width: 1}, ticks: {stroke: line}};
      plot = new uPlot(
        {
          width: place.current.clientWidth,
          height: 180,
          legend: {show: false},
          cursor: {y: false},
          scales: {y: isLog ? {distr: 3} : {range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => [0, Math.max(1, high)]}},
          axes: [axis, {...axis, size: 64, values: (/** @type {any} */ _, /** @type {any[]} */ all) => all.map((one) => (one == null ? '' : unit(one)))}],
          series: [{}, ...lines.map(({color}) => ({stroke: style.getPropertyValue(color), width: 1.6, points: {show: false}}))],
        },
        [times, ...lines.map(({values}) => values)],
        place.current,
      );
    }, () => {});
    return () => {
      isGone = true;
      plot?.destroy();
    };
  }, [times, lines]);
  return html`<section class="panel" aria-label=${title}>
    <div class="head"><h2>${title}</h2><span class="legend">${lines.map(({name, color}) => html`<span><i class=${color.slice(2)}></i>${name}</span>`)}</span>
      <button onClick=${() => show(!isTable)} aria-pressed=${isTable}>Table</button></div>
    <p class="caption">${caption}</p>
    ${isTable
      ? html`<div class="scroll" tabindex="0" role="region" aria-label=${`${title}, values`}><table><thead><tr><th scope="col">Time</th>${lines.map(({name}) => html`<th scope="col" class="right">${name}</th>`)}</tr></thead>
          <tbody>${times.map((time, at) => html`<tr><td>${new Date(time * 1000).toLocaleTimeString()}</td>${lines.map(({values}) => html`<td class="right">${values[at] == null ? '–' : unit(/** @type {number} */ (values[at]))}</td>`)}</tr>`)}</tbody></table></div>`
      : html`<div ref=${place} class="chart" role="img" aria-label=${caption}></div>`}
  </section>`;
}
