/** A closed model: 20 virtual users, each of which sends its next job when the last is acknowledged. SECONDS=30 */

import { number, submitJob, thresholds } from './queuey.js'

/** @type {import('k6/options').Options} */
export const options = {
  vus: 20,
  duration: `${number('SECONDS', 30)}s`,
  thresholds: thresholds(50, 100)
}

export default submitJob
