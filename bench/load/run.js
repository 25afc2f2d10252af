/**
 * One stage of load, described by the first argument as JSON:
 *
 *   url, headers, body   the request, a POST
 *   seconds              how long new requests are sent
 *   clients              a closed model: so many, each sends its next request when the last is answered; or
 *   rate                 an open model: so many requests a second, whatever becomes of the others
 *
 * Prints {asked, answered, failed, seconds, p50, p95, p99, max}; latencies in ms, null where nothing was answered. In
 * the open model one counts from when the request was due, so that a server which stalls does not hide what waited.
 */

import { loadTest } from 'loadtest'

const TIMEOUT_MS = 10_000

const stage = JSON.parse(process.argv[2])
const latencies = []
let asked = 0
let failed = 0
let firstAt = 0
let lastAt = 0

/** Called by the library for each request, in place of http.request. */
function send(_options, params, request, onReply) {
  const now = performance.now()
  firstAt ||= now
  const due = stage.rate ? Math.min(now, firstAt + (asked * 1000) / stage.rate) : now
  asked += 1
  params.headers['content-length'] = Buffer.byteLength(stage.body)
  const sent = request(params, (reply) => {
    const pieces = []
    reply.on('data', (piece) => pieces.push(piece))
    reply.on('end', () => answered(due, reply.statusCode, Buffer.concat(pieces).toString()))
    onReply(reply)
  })
  return sent.on('error', () => {
    lastAt = performance.now()
    failed += 1
  })
}

function answered(due, status, text) {
  lastAt = performance.now()
  if (status === 200 && text.startsWith('{"job_id":"')) {
    latencies.push(lastAt - due)
  } else {
    failed += 1
  }
}

function percentile(sorted, share) {
  return sorted.length ? sorted[Math.ceil(sorted.length * share) - 1] : null
}

await loadTest({
  url: stage.url,
  method: 'POST',
  headers: stage.headers,
  contentType: 'application/json',
  body: stage.body,
  agentKeepAlive: true,
  timeout: TIMEOUT_MS,
  quiet: true,
  requestGenerator: send,
  // An open model ends when every request has its answer; what has none is cut off by the time.
  ...(stage.rate
    ? {
        requestsPerSecond: stage.rate,
        maxRequests: Math.round(stage.rate * stage.seconds),
        maxSeconds: stage.seconds + TIMEOUT_MS / 1000 + 1
      }
    : { concurrency: stage.clients, maxSeconds: stage.seconds })
})

latencies.sort((one, other) => one - other)
const found = {
  asked,
  answered: latencies.length,
  // When the time of a closed model is up, each client's last request is cut off, which is no failure.
  failed: stage.rate ? asked - latencies.length : failed,
  seconds: (lastAt - firstAt) / 1000,
  p50: percentile(latencies, 0.5),
  p95: percentile(latencies, 0.95),
  p99: percentile(latencies, 0.99),
  max: percentile(latencies, 1)
}
process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit(0))
