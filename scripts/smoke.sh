#!/bin/sh
# Calls the main routes with curl and checks every answer.
#   smoke.sh URL   against a running or starting server
#   smoke.sh       against its own server, on a free port with a temporary data directory
# PYTHON and QUEUEY name the commands. The key is QUEUEY_API_KEY, else that of a server without keys.
set -eu

PYTHON=${PYTHON:-python3}
QUEUEY=${QUEUEY:-.venv/bin/queuey}
key=${QUEUEY_API_KEY:-dev}
url=${1:-}
server=
scratch=$(mktemp -d)

stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" || true
    fi
    rm -rf "$scratch"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "FAIL  $*" >&2
    if [ -s "$scratch/body" ]; then sed 's/^/      body: /' "$scratch/body" >&2; echo >&2; fi
    if [ -s "$scratch/log" ]; then tail -n 20 "$scratch/log" | sed 's/^/      server: /' >&2; fi
    exit 1
}

# request STATUS METHOD PATH [curl flags]: writes the body to $scratch/body, and fails if the status is not STATUS.
request() {
    wanted=$1 method=$2 path=$3
    shift 3
    status=$(curl -sS -m 10 -X "$method" -o "$scratch/body" -w '%{http_code}' "$@" "$url$path") || true
    [ "$status" = "$wanted" ] || fail "$method $path answered ${status:-nothing} instead of $wanted"
}

# expect CONDITION: checks a Python expression with the last reply as `r` and further arguments as `a`.
expect() {
    "$PYTHON" -c 'import json, sys
r, a = json.load(open(sys.argv[1], encoding="utf-8")), sys.argv[3:]
sys.exit(not eval(sys.argv[2]))' "$scratch/body" "$@" || fail "the last reply is not: $*"
}

field() {
    "$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1], encoding="utf-8"))[sys.argv[2]])' \
        "$scratch/body" "$1"
}

submit() {
    request 200 POST /v1/jobs -H "x-api-key: $key" -H 'content-type: application/json' -d "$1"
}

# wait_for ID STATUS: reads the job until it has that status, for at most 30 seconds.
wait_for() {
    tries=0
    while request 200 GET "/v1/jobs/$1" -H "x-api-key: $key"; [ "$(field status)" != "$2" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 30 ] || fail "job $1 did not become $2"
        sleep 1
    done
}

if [ -z "$url" ]; then
    port=$("$PYTHON" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    url=http://127.0.0.1:$port
    "$QUEUEY" serve --port "$port" --data-dir "$scratch/data" >"$scratch/log" 2>&1 &
    server=$!
fi

tries=0
until curl -sf -m 5 -o /dev/null "$url/readyz"; do
    tries=$((tries + 1))
    [ "$tries" -lt 120 ] || fail "$url/readyz is not ready"
    [ -z "$server" ] || kill -0 "$server" 2>/dev/null || fail "the server ended"
    sleep 1
done
echo "ok    GET /readyz"

request 200 GET /healthz
expect 'r["status"] == "ok" and r["redis"] == "up"'
echo "ok    GET /healthz"

dedupe_key="smoke:$$:$(date +%s)"
job="{\"type\":\"text.reverse\",\"payload\":{\"text\":\"hello\"},\"dedupe_key\":\"$dedupe_key\",\"priority\":\"high\"}"
submit "$job"
id=$(field job_id)
submit "$job"
expect 'r["job_id"] == a[0] and r["deduplicated"] is True' "$id"
request 422 POST /v1/jobs -H "x-api-key: $key" -H 'content-type: application/json' -d '{"payload":{}}'
echo "ok    POST /v1/jobs"

wait_for "$id" succeeded
expect 'r["id"] == a[0] and r["result"] == "olleh" and r["priority"] == "high" and r["attempts"] == 0' "$id"
expect 'r["dedupe_key"] == a[0] and r["finished_at"] is not None and r["last_error"] is None' "$dedupe_key"
request 404 GET /v1/jobs/unknown -H "x-api-key: $key"
echo "ok    GET /v1/jobs/{id}"

submit '{"type":"math.square","payload":{"n":"not a number"}}'
dead=$(field job_id)
wait_for "$dead" dead_letter
expect 'r["last_error"]'
request 200 GET /v1/queues/metrics -H "x-api-key: $key"
expect 'r["queue_dlq_length"] >= 1'
expect 'all(r["queue_%s_length" % p] >= 0 for p in ("high", "default", "low"))'
echo "ok    GET /v1/queues/metrics"

request 401 POST '/v1/replay-dlq?limit=100'
request 200 POST '/v1/replay-dlq?limit=100' -H "x-api-key: $key"
expect 'r["requeued"] >= 1'
wait_for "$dead" dead_letter
echo "ok    POST /v1/replay-dlq"
