// What is wrong, in words: the rules of the alerts (deploy/prometheus/alerts.yml), from a frame and the groups of dead jobs.

import {counted, duration} from './format.js';

const OLD_SECONDS = 300;
const DEATHS = 10;
const RECENT_SECONDS = 600;
const FULL = 0.85;
const SILENT_SECONDS = 30;

/**
 * @typedef {{kind: 'bad' | 'warn', label: string, words: string, queue?: string, is_paused?: boolean, group?: any,
 *   type?: string, worker?: string}} Trouble
 * @param {import('./server.js').Frame} frame @param {any[]} groups @returns {Trouble[]} the worst first
 */
export function problemsOf(frame, groups) {
  const now = Date.parse(frame.at);
  const age = (/** @type {string} */ time) => (now - Date.parse(time)) / 1000;
  /** @type {Trouble[]} */
  const found = [];
  for (const group of groups) {
    if (group.count > DEATHS && age(group.newest) < RECENT_SECONDS) {
      found.push({
        kind: 'bad',
        label: 'Failing',
        words: `${group.type} dies of ${group.message}: ${counted(group.count, 'job')} in the last ${duration(age(group.oldest))}`,
        group,
      });
    }
  }
  for (const queue of frame.queues) {
    const waiting = queue.high + queue.default + queue.low;
    if (!waiting) continue;
    const waits = `${counted(waiting, 'job')} wait${waiting === 1 ? 's' : ''}, the oldest for ${duration(queue.oldest_age)}`;
    if (queue.paused) {
      const by = queue.paused_by ? ` by ${queue.paused_by}` : '';
      const why = queue.pause_reason ? ` (“${queue.pause_reason}”)` : '';
      found.push({kind: 'warn', label: 'Paused', words: `${queue.name} is paused${by}${why}: ${waits}`, queue: queue.name, is_paused: true});
    } else if (!queue.workers.length) {
      found.push({kind: 'bad', label: 'No worker', words: `No worker serves ${queue.name}: ${waits}`, queue: queue.name});
    } else if (queue.oldest_age > OLD_SECONDS) {
      found.push({kind: 'warn', label: 'Waiting', words: `${queue.name} falls behind: ${waits}`, queue: queue.name});
    }
    for (const [type, count] of Object.entries(queue.waiting_for_handler)) {
      found.push({kind: 'warn', label: 'No handler', words: `No live worker knows the type ${type}: ${counted(count, 'job')} of ${queue.name} wait for one`, type});
    }
  }
  for (const worker of frame.workers) {
    if (worker.gone || age(worker.last_seen) > SILENT_SECONDS) {
      found.push({kind: 'warn', label: 'Silent', words: `${worker.name} was last seen ${duration(age(worker.last_seen))} ago`, worker: worker.name});
    }
    if (worker.stuck_threads.length) {
      found.push({kind: 'warn', label: 'Stuck', words: `${counted(worker.stuck_threads.length, 'thread')} of ${worker.name} did not return after a timeout`, worker: worker.name});
    }
  }
  if (frame.store_used > FULL) {
    const share = Math.round(100 * frame.store_used);
    found.unshift({kind: 'bad', label: 'Store', words: `The store is ${share} % full. At 100 % it takes no more jobs`});
  }
  return found.sort((one, other) => Number(one.kind !== 'bad') - Number(other.kind !== 'bad'));
}
