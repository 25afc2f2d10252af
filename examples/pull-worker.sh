#!/usr/bin/env bash
# A worker in bash and curl: runs a command for each job of a queue.
#
#     examples/pull-worker.sh QUEUE COMMAND [ARGUMENT...]
#
# The command gets the job's type as its last argument, and the payload as JSON on standard input. Its standard output is
# the job's result: JSON or nothing. If it fails, its standard error is the job's error.
#
#     QUEUEY_URL      URL of the server (http://127.0.0.1:8000)
#     QUEUEY_API_KEY  a key with the scope work, if the server needs one
#     LEASE           duration of a lease in seconds (30); it is extended after a third of that
#
# SIGTERM and SIGINT stop the command and release its job, which spends no attempt. After SIGKILL the job runs again
# when its lease has expired. Anyone who may submit jobs controls the standard input of the command: do not `eval` it.
set -u

[ $# -ge 2 ] || { echo "usage: $0 QUEUE COMMAND [ARGUMENT...]" >&2; exit 2; }
queue=$1
shift
url=${QUEUEY_URL:-http://127.0.0.1:8000}
lease=${LEASE:-30}
scratch=$(mktemp -d) || exit 1
claims=0
id='' token='' running='' asking='' renewing=''

# The fields come in this order, and the fields after the payload have no text from users.
job='^\{"jobs":\[\{"id":"([0-9A-Z]+)","token":"([^"]+)","type":"([^"]+)","payload":(.*),"attempt":[0-9]+,"lease_expires_at":'

# post PATH BODY: prints the answer. It sends a request again for about a minute, if no complete answer comes or the server
# is unavailable. That is safe, because every request has a claim id or a token. The exit code is 22 if the server refused
# the request, and 1 if it stayed unavailable.
post() {
  local answer="$scratch/answer-$BASHPID" until=$((SECONDS + 60)) code=1 pause status exit_code
  for pause in 0.2 0.5 1 2 4 8 16 16 16 0; do
    : >"$answer" # only the answer to the last try
    status=$(printf '%s' "$2" | curl --silent --max-time 90 --header 'content-type: application/json' \
      ${QUEUEY_API_KEY:+--header "x-api-key: $QUEUEY_API_KEY"} --data-binary @- --output "$answer" \
      --write-out '%{http_code}' "$url/v1/leases$1")
    exit_code=$?
    case $status in
      2??) [ "$exit_code" -eq 0 ] && { code=0; break; } ;;
      408 | 429) ;;
      4??) code=22; break ;;
    esac
    [ "$SECONDS" -lt "$until" ] || break
    sleep "$pause"
  done
  cat "$answer"
  return "$code"
}

# as_json: prints standard input as a JSON string, with printable ASCII only.
as_json() {
  local text
  text=$(LC_ALL=C tr -cd '\11\12\40-\176')
  text=${text//\\/\\\\} text=${text//\"/\\\"} text=${text//$'\n'/\\n} text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

# renew PID: extends the lease while the command runs. It stops the command if its job was cancelled or another worker has
# it, or if this worker was killed.
renew() {
  local pause answer
  pause=$(awk "BEGIN { print $lease / 3 }")
  while sleep "$pause"; do
    kill -0 $$ 2>/dev/null || { kill -- "-$1" 2>/dev/null; return; }
    answer=$(post /extend "{\"jobs\":[{\"id\":\"$id\",\"token\":\"$token\",\"lease\":$lease}]}") || continue
    case $answer in
      *'"status":"cancelled"'*) echo cancelled >>"$scratch/err"; kill -- "-$1" 2>/dev/null; return ;;
      *'"status":"lost"'*) kill -- "-$1" 2>/dev/null; return ;;
    esac
  done
}

# stop PID: ends a job of this shell, and all processes that it has started.
stop() {
  [ -z "$1" ] && return
  kill -- "-$1" 2>/dev/null
  wait "$1" 2>/dev/null
}

# read_job: parses the answer to a request for a lease. Its exit code is not 0 if there is no job.
read_job() {
  [[ $(<"$scratch/leased") =~ $job ]] || return
  id=${BASH_REMATCH[1]} token=${BASH_REMATCH[2]} type=${BASH_REMATCH[3]} payload=${BASH_REMATCH[4]}
}

# ask SECONDS: requests a job, and waits for it.
ask() {
  post '' "{\"queues\":[\"$queue\"],\"wait\":$1,\"lease\":$lease,\"claim_id\":\"$claim_id\"}" >"$scratch/leased"
}

# report complete|fail FIELD: reports the outcome of the job. It has the exit codes of post.
report() {
  local code
  post "/$1" "{\"id\":\"$id\",\"token\":\"$token\",$2}" >"$scratch/answer"
  code=$?
  [ "$code" -eq 0 ] || echo "$0: $id: $(<"$scratch/answer")" >&2
  return "$code"
}

leave() {
  trap '' TERM INT
  if [ -n "$asking" ]; then # a job may have been leased to us: the same claim id returns it again
    stop "$asking"
    ask 0 && read_job
  fi
  stop "$renewing"
  stop "$running"
  [ -n "$id" ] && post /release "{\"id\":\"$id\",\"token\":\"$token\"}" >"$scratch/answer"
  rm -rf "$scratch"
  exit 0
}
trap leave TERM INT
set -m # each job of this shell is its own process group, so that `stop` ends all of it

while true; do
  claims=$((claims + 1))
  claim_id="sh-$$-$RANDOM$RANDOM-$claims"
  asked_at=$SECONDS
  ask 30 & # in the background, so that a signal interrupts the wait
  asking=$!
  wait "$asking"
  refused=$?
  if ! read_job; then
    asking=''
    [ "$refused" -eq 0 ] || echo "$0: no lease: $(<"$scratch/leased")" >&2
    [ $((SECONDS - asked_at)) -ge 1 ] || sleep 1 # a stopping server answers at once
    continue
  fi
  asking=''
  printf '%s' "$payload" >"$scratch/in"
  : >"$scratch/err"

  "$@" "$type" <"$scratch/in" >"$scratch/out" 2>>"$scratch/err" &
  running=$!
  renew "$running" &
  renewing=$!
  wait "$running"
  code=$?
  running=''
  stop "$renewing"
  renewing=''

  if [ "$code" -eq 0 ]; then
    result=$(<"$scratch/out")
    report complete "\"result\":${result:-null}"
    # A result that is not JSON or too large is always refused, so the attempt has failed.
    [ $? -ne 22 ] || report fail "\"error\":$({ echo 'the result was refused:'; tail -c 500 "$scratch/answer"; } | as_json)"
  else
    report fail "\"error\":$({ tail -c 1000 "$scratch/err"; echo "exit code $code"; } | as_json)"
  fi
  id='' token=''
done
