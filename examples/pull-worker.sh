#!/usr/bin/env bash
# A worker in bash and curl: runs a command for each job of a queue.
#
#     examples/pull-worker.sh QUEUE COMMAND [ARGUMENT...]
#
# The command gets the job's type as a last argument and the payload, as JSON, on its standard input. What it prints must
# be JSON or nothing, and is the job's result. When it fails, what it wrote to standard error is the job's error.
#
#     QUEUEY_URL      where the server is (http://127.0.0.1:8000)
#     QUEUEY_API_KEY  a key with the scope work, where the server wants one
#     LEASE           seconds for which a job is ours at a time (30): renewed three times as often
#
# SIGTERM and SIGINT end the command and give its job back, with no attempt spent. After SIGKILL the job runs again
# somewhere once its lease is over. Whoever may submit jobs decides what is on the command's standard input: do not
# `eval` it.
set -u

[ $# -ge 2 ] || { echo "usage: $0 QUEUE COMMAND [ARGUMENT...]" >&2; exit 2; }
queue=$1
shift
url=${QUEUEY_URL:-http://127.0.0.1:8000}
lease=${LEASE:-30}
scratch=$(mktemp -d) || exit 1
claims=0
id='' token='' running='' asking='' renewing=''

# The fields come in this order, and those behind the payload hold no text of others.
job='^\{"jobs":\[\{"id":"([0-9A-Z]+)","token":"([^"]+)","type":"([^"]+)","payload":(.*),"attempt":[0-9]+,"lease_expires_at":'

# post PATH BODY: prints the answer. Sent again when none comes, when it breaks off, and when the server is away, for about
# a minute, which is safe: every request bears a claim id or a token. Its exit code is 22 when the server refused it, and
# 1 when the server was away for long.
post() {
  local answer="$scratch/answer-$BASHPID" until=$((SECONDS + 60)) code=1 pause status exit_code
  for pause in 0.2 0.5 1 2 4 8 16 16 16 0; do
    : >"$answer" # of the last try alone
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

# as_json: standard input as a JSON string, without what is not printable ASCII.
as_json() {
  local text
  text=$(LC_ALL=C tr -cd '\11\12\40-\176')
  text=${text//\\/\\\\} text=${text//\"/\\\"} text=${text//$'\n'/\\n} text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

# renew PID: keeps the lease while the command runs. Ends the command when its job was cancelled or is another's, or when
# this worker was killed.
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

# stop PID: ends a job of this shell and what it has started.
stop() {
  [ -z "$1" ] && return
  kill -- "-$1" 2>/dev/null
  wait "$1" 2>/dev/null
}

# read_job: takes the answer to a request for a lease apart. Its exit code is not 0 when no job came.
read_job() {
  [[ $(<"$scratch/leased") =~ $job ]] || return
  id=${BASH_REMATCH[1]} token=${BASH_REMATCH[2]} type=${BASH_REMATCH[3]} payload=${BASH_REMATCH[4]}
}

# ask SECONDS: asks for a job, and waits for it.
ask() {
  post '' "{\"queues\":[\"$queue\"],\"wait\":$1,\"lease\":$lease,\"claim_id\":\"$claim_id\"}" >"$scratch/leased"
}

# tell complete|fail FIELD: what came of the job. Exit codes as those of post.
tell() {
  local code
  post "/$1" "{\"id\":\"$id\",\"token\":\"$token\",$2}" >"$scratch/answer"
  code=$?
  [ "$code" -eq 0 ] || echo "$0: $id: $(<"$scratch/answer")" >&2
  return "$code"
}

leave() {
  trap '' TERM INT
  if [ -n "$asking" ]; then # a job may be on its way to us: the same claim id brings it again
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
set -m # each job of this shell is a process group of its own, which `stop` ends as a whole

while true; do
  claims=$((claims + 1))
  claim_id="sh-$$-$RANDOM$RANDOM-$claims"
  asked_at=$SECONDS
  ask 30 & # in the background, so that a signal is heard while we wait
  asking=$!
  wait "$asking"
  refused=$?
  if ! read_job; then
    asking=''
    [ "$refused" -eq 0 ] || echo "$0: no lease: $(<"$scratch/leased")" >&2
    [ $((SECONDS - asked_at)) -ge 1 ] || sleep 1 # a server that stops answers at once
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
    tell complete "\"result\":${result:-null}"
    # What is not JSON or too large would be refused for ever: the attempt has failed then.
    [ $? -ne 22 ] || tell fail "\"error\":$({ echo 'the result was refused:'; tail -c 500 "$scratch/answer"; } | as_json)"
  else
    tell fail "\"error\":$({ tail -c 1000 "$scratch/err"; echo "exit code $code"; } | as_json)"
  fi
  id='' token=''
done
