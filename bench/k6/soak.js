/**
 * An open model: jobs arrive at one rate for a long time, which shows what grows: memory, files, latencies.
 *
 *   RATE=500 a second, MINUTES=10, VUS=200 at most
 */

import { number, submitJob, thresholds } from './queuey.js'

const vus = number('VUS', 200)

/** @type {import('k6/options').Options} */
export const options = {
  scenarios: {
    soak: {
      executor: 'constant-arrival-rate',
      rate: number('RATE', 500),
      timeUnit: '1s',
      duration: `${number('MINUTES', 10) * 60}s`,
      preAllocatedVUs: Math.ceil(vus / 4),
      maxVUs: vus
    }
  },
  thresholds: { ...thresholds(25, 50), dropped_iterations: ['count<1'] }
}

export default submitJob
