/**
 * What the scenarios share: one job over HTTP, what must hold of the answers, and numbers from the environment.
 *
 *   QUEUEY_URL       where the server listens; http://127.0.0.1:8000 unless set
 *   QUEUEY_API_KEY   a key with the scope `submit`; none is sent unless set
 *   QUEUEY_JOB_TYPE  of the jobs; text.reverse, which a server without an app of its own has, unless set
 */

import { check } from 'k6'
import http from 'k6/http'

const URL = (__ENV.QUEUEY_URL || 'http://127.0.0.1:8000').replace(/\/+$/, '')
const KEY = __ENV.QUEUEY_API_KEY

/** 100 bytes of payload. */
const JOB = JSON.stringify({
  type: __ENV.QUEUEY_JOB_TYPE || 'text.reverse',
  payload: { text: 'x'.repeat(89) }
})

/** @type {Record<string, string>} */
const HEADERS = { 'content-type': 'application/json', ...(KEY ? { 'x-api-key': KEY } : {}) }

/** Enqueue one job; the check is that it was acknowledged. */
export function submitJob() {
  const reply = http.post(`${URL}/v1/jobs`, JOB, { headers: HEADERS, timeout: '10s' })
  check(reply, {
    'the job was taken': (answer) => answer.status === 200 && typeof answer.json('job_id') === 'string'
  })
}

/**
 * The run fails when one of these is broken.
 *
 * @param {number} p95 ms
 * @param {number} p99 ms
 * @returns {NonNullable<import('k6/options').Options['thresholds']>}
 */
export function thresholds(p95, p99) {
  return {
    http_req_failed: ['rate<0.001'],
    http_req_duration: [`p(95)<${number('P95_MS', p95)}`, `p(99)<${number('P99_MS', p99)}`],
    checks: ['rate>0.999']
  }
}

/**
 * A number above 0 from the environment.
 *
 * @param {string} name
 * @param {number} otherwise
 */
export function number(name, otherwise) {
  const text = __ENV[name]
  if (!text) {
    return otherwise
  }
  const value = Number(text)
  if (!(value > 0)) {
    throw new Error(`${name}=${text} is no number above 0`)
  }
  return value
}
