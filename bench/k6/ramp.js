/**
 * An open model: jobs arrive at a rate that rises whatever the server does, from START to RATE a second. Arrivals that
 * find no free virtual user are dropped; the threshold on those says up to where the rate was held.
 *
 *   START=100 RATE=2000 a second, SECONDS=60 to climb, VUS=400 at most
 */

import { number, submitJob, thresholds } from './queuey.js'

const vus = number('VUS', 400)

/** @type {import('k6/options').Options} */
export const options = {
  scenarios: {
    ramp: {
      executor: 'ramping-arrival-rate',
      startRate: number('START', 100),
      timeUnit: '1s',
      preAllocatedVUs: Math.ceil(vus / 4),
      maxVUs: vus,
      stages: [
        { target: number('RATE', 2000), duration: `${number('SECONDS', 60)}s` },
        { target: number('RATE', 2000), duration: '10s' }
      ]
    }
  },
  thresholds: { ...thresholds(100, 250), dropped_iterations: ['count<1'] }
}

export default submitJob
