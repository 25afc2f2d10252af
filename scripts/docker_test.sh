#!/bin/bash
# Builds the image and runs it as users do: alone with all restrictions, killed and restarted, with added handlers, and
# as replicas behind the balancer with Prometheus. It removes every container, volume and engine that it started. It does
# not run Grafana, which has no stand-in; tests/contracts checks its files.
#
#   docker_test.sh            with the Docker on PATH
#   CONTAINER_TOOLS=FOLDER    scripts (lib.sh, engine.sh, compose.sh) that supply an engine where there is none
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
TAG=queuey-test-$$
KEY=a-key-of-the-docker-test
MOST_BYTES=70000000    # the most that the image may add to its base
started_engine=

free_port() { "$PYTHON" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# The compose file reads these. Without QUEUEY_API_KEY, the key is that of the README.
unset QUEUEY_API_KEY QUEUEY_OPEN
export COMPOSE_PROJECT_NAME=$TAG QUEUEY_IMAGE=$TAG
QUEUEY_PUBLISHED_PORT=$(free_port) PROMETHEUS_PORT=$(free_port)
export QUEUEY_PUBLISHED_PORT PROMETHEUS_PORT

scratch=$(mktemp -d)
say() { printf '\n== %s  (%ss)\n' "$*" "$SECONDS"; }
fail() { echo "FAIL  $*" >&2; exit 1; }

# stand_in IMAGE PACKAGE [LINES]: replaces a registry's image by one with Debian's package; LINES end its Dockerfile.
stand_in() {
    docker image inspect "$1" >/dev/null 2>&1 && return
    mkdir "$scratch/stand-in"
    cat >"$scratch/stand-in/Dockerfile" <<D
FROM standin/debian
RUN apt-get -qq update && apt-get -qq install --yes --no-install-recommends $2 && rm -rf /var/lib/apt/lists/*
${3:-}
D
    build "$scratch/stand-in" "$1"
    rm -r "$scratch/stand-in"
}

if [ -z "${CONTAINER_TOOLS:-}" ] && ! docker info >/dev/null 2>&1 && [ -d ../shared/container ]; then
    CONTAINER_TOOLS=../shared/container
fi
if [ -n "${CONTAINER_TOOLS:-}" ]; then
    tools=$(cd "$CONTAINER_TOOLS" && pwd)
    "$tools/engine.sh" status >/dev/null 2>&1 || started_engine=1
    # shellcheck disable=SC1091
    . "$tools/lib.sh"
    build() { build_image "$1" "$1/Dockerfile" "$2" >"$scratch/build.log" 2>&1 || { cat "$scratch/build.log" >&2; exit 1; }; }
    compose() { "$tools/compose.sh" . "$@"; }
else
    docker info >/dev/null 2>&1 || fail "Docker is missing: install it, or set CONTAINER_TOOLS"
    build() { docker build --quiet --tag "$2" "$1" >/dev/null; }
    # The base, to compare sizes: a build does not keep it among the images.
    docker pull --quiet "$(sed -n 's/^FROM \(python:[^ ]*\)$/\1/p' Dockerfile)"
    compose() { docker compose "$@"; }
fi

finish() {
    status=$?
    set +e
    if [ "$status" != 0 ]; then
        docker logs --tail 30 "$TAG" 2>&1 | sed 's/^/      container: /'
        COMPOSE_PROFILES=monitoring compose logs --timestamps --tail 40 2>&1 | sed 's/^/      /'
    fi
    docker rm --force --volumes "$TAG" "$TAG-restored" "$TAG-handlers" >/dev/null 2>&1
    COMPOSE_PROFILES=monitoring compose down --volumes --remove-orphans >/dev/null 2>&1
    docker volume rm "$TAG" "$TAG-restored" >/dev/null 2>&1
    docker rmi --force "$TAG" "$TAG:2" "$TAG-handlers" >/dev/null 2>&1
    rm -rf "$scratch"
    [ -z "$started_engine" ] || "$tools/engine.sh" stop
    exit "$status"
}
trap finish EXIT

if [ -n "${CONTAINER_TOOLS:-}" ]; then
    say "base images, and stand-ins for the balancer's and Prometheus'"
    base_images
    stand_in haproxy:3.0 haproxy
    # As in the real image, nobody may write to /prometheus, and a command has only flags.
    stand_in prom/prometheus:v3.5.0 prometheus 'RUN install -d -o nobody -g nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]'
fi

# alone NAME IMAGE [VOLUME]: runs it with all restrictions, its data in the volume (default: $TAG), on a free port. Prints
# its URL.
alone() {
    docker run --detach --name "$1" --publish 127.0.0.1::8000 --env QUEUEY_API_KEY="$KEY" \
        --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --pids-limit 256 \
        --volume "${3:-$TAG}:/data" "$2" >/dev/null
    healthy "$1"
    echo "http://$(docker port "$1" 8000 | head -n 1)"
}

healthy() {
    for _ in $(seq 120); do
        case $(docker inspect --format '{{.State.Status}} {{.State.Health.Status}}' "$1") in
            "running healthy") return ;;
            exited* | dead*) fail "$1 ended" ;;
        esac
        sleep 0.5
    done
    fail "$1 is not healthy"
}

# ask METHOD PATH [BODY]: prints the body of the reply.
ask() {
    curl --silent --show-error --fail-with-body --max-time 20 --request "$1" --header "x-api-key: $KEY" \
        ${3:+--header 'content-type: application/json' --data "$3"} "$url$2"
}

field() { "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# printed HEADING: runs the commands of docs/operations.md below this heading, with the images of this test.
printed() {
    local commands
    commands=$(awk -v heading="### $1" '$0 == heading { on = 1; next } /^#/ { on = 0 } on && sub(/^    /, "")' docs/operations.md)
    [ -n "$commands" ] || fail "docs/operations.md prints nothing below '$1'"
    commands=$(sed -E -e "s/queuey:2/$TAG:2/; s/restored:/$TAG-restored:/; s/ queuey( \\\\|:.data)/ $TAG\\1/" \
        -e "s/^(docker (stop|start) .*)queuey\$/\\1$TAG/; s|\\\$PWD/backup|$scratch/backup|; s| backup\$| $scratch/backup|" \
        <<<"$commands")
    # shellcheck disable=SC2329 # called by what is printed
    docker() { if [ "$1" = compose ]; then shift; compose "$@"; else command docker "$@"; fi }
    eval "$commands" </dev/null
    unset -f docker
}

# load FILE: enqueues jobs into a queue that no worker serves, and writes the acknowledged ids to the file, until
# $scratch/enough exists. Refused requests are noted in $scratch/refused, and sent again with the same dedupe key.
load() {
    local reply n=0
    until [ -e "$scratch/enough" ]; do
        if reply=$(ask POST /v1/jobs "{\"type\":\"by-hand\",\"queue\":\"kept\",\"dedupe_key\":\"${1##*/}-$n\"}" 2>&1); then
            field job_id <<<"$reply" >>"$1"
            n=$((n + 1))
        else
            echo "$(date +%T) ${reply//$'\n'/ }" >>"$scratch/refused"
        fi
    done
}

loaded() { [ -e "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; }

# until_loaded FILE NUMBER
until_loaded() {
    for _ in $(seq 120); do
        if loaded "$1" "$2"; then return; fi
        sleep 0.5
    done
    fail "no load"
}

until_status() {
    for _ in $(seq 60); do
        now=$(ask GET "/v1/jobs/$1" | field status)
        [ "$now" != "$2" ] || return 0
        sleep 0.5
    done
    fail "job $1 is $now and not $2"
}

say "the image"
build . "$TAG"
base=$(sed -n 's/^FROM \(python:[^ ]*\)$/\1/p' Dockerfile)
more=$(($(docker image inspect --format '{{.Size}}' "$TAG") - $(docker image inspect --format '{{.Size}}' "$base")))
echo "ok    $((more / 1000000)) MB above $base"
[ "$more" -le "$MOST_BYTES" ] || fail "the image adds $more bytes to $base, and $MOST_BYTES are allowed"
[ "$(docker image inspect --format '{{.Config.User}}' "$TAG")" = queuey ] || fail "the image runs as root"

say "without a key it says what to do"
if docker run --rm "$TAG" >"$scratch/nokey" 2>&1; then fail "a server without keys listened to other machines"; fi
grep -q QUEUEY_API_KEY "$scratch/nokey" || fail "the message does not name QUEUEY_API_KEY: $(cat "$scratch/nokey")"

say "one container, under all its restrictions"
docker volume create "$TAG" >/dev/null
url=$(alone "$TAG" "$TAG")
PYTHON=$PYTHON QUEUEY_API_KEY=$KEY sh scripts/smoke.sh "$url"

say "killed, and started again: the jobs are there"
waiting=()
for n in 1 2 3; do
    waiting+=("$(ask POST /v1/jobs "{\"type\":\"text.reverse\",\"payload\":{\"text\":\"abc\"},\"delay\":$((n + 2))}" | field job_id)")
done
docker kill --signal KILL "$TAG" >/dev/null
docker rm "$TAG" >/dev/null
url=$(alone "$TAG" "$TAG")
for id in "${waiting[@]}"; do until_status "$id" succeeded; done
echo "ok    ${#waiting[@]} acknowledged jobs survived SIGKILL"

say "a copy of its files, read back in another container"
printed "The private Valkey"
here=$url
url=$(alone "$TAG-restored" "$TAG" "$TAG-restored")
for id in "${waiting[@]}"; do until_status "$id" succeeded; done
docker rm --force "$TAG-restored" >/dev/null
rm -r "$scratch/backup"
url=$here
healthy "$TAG"
echo "ok    ${#waiting[@]} jobs"

say "SIGTERM ends it in time"
docker stop -t 30 "$TAG" >/dev/null
code=$(docker inspect --format '{{.State.ExitCode}}' "$TAG")
[ "$code" = 0 ] || fail "it ended with $code"
docker rm "$TAG" >/dev/null

say "handlers of one's own"
sed "s/^FROM queuey$/FROM $TAG/" examples/docker/Dockerfile >"$scratch/Dockerfile"
cp examples/docker/handlers.py "$scratch"
build "$scratch" "$TAG-handlers"
url=$(alone "$TAG-handlers" "$TAG-handlers")
id=$(ask POST /v1/jobs '{"type":"greet","payload":{"name":"Ada"}}' | field job_id)
until_status "$id" succeeded
[ "$(ask GET "/v1/jobs/$id" | field result)" = "Hello, Ada!" ] || fail "the handler did not run"
docker rm --force "$TAG-handlers" >/dev/null
echo "ok    FROM queuey"

say "compose: three replicas behind the balancer"
compose up -d --wait --scale queuey=3
url=http://localhost:$QUEUEY_PUBLISHED_PORT
KEY=dev
"$PYTHON" -m scripts.readme_session "$url"
PYTHON=$PYTHON sh scripts/smoke.sh "$url"
for host in evil.example localhost.evil.example; do
    code=$(curl --silent --output /dev/null --write-out '%{http_code}' --header "host: $host" "$url/v1/queues/metrics")
    [ "$code" = 421 ] || fail "asked as $host the balancer answers $code"
done
echo "ok    with another host name it refuses requests"
replicas=$(compose ps --quiet queuey | wc -l)
[ "$replicas" = 3 ] || fail "there are $replicas replicas"
"$PYTHON" -m scripts.container.through_balancer "$url" "$KEY"

say "Prometheus beside them"
compose up -d --wait prometheus
"$PYTHON" -m scripts.container.monitoring "http://localhost:$PROMETHEUS_PORT" 3 "$url" "$KEY"

say "a replica is killed under load: nothing is lost"
ids=()
for n in $(seq 60); do
    [ "$n" != 20 ] || docker kill --signal KILL "$(compose ps --quiet queuey | head -n 1)" >/dev/null
    # With an id, a request whose reply was lost is safe to repeat.
    ids+=("$(ask POST /v1/jobs '{"type":"text.reverse","payload":{"text":"abc"}}' | field job_id)")
done
for id in "${ids[@]}"; do until_status "$id" succeeded; done
echo "ok    ${#ids[@]} jobs"

say "the store's files are copied under load, and read back"
load "$scratch/acknowledged" &
loader=$!
until_loaded "$scratch/acknowledged" 30
cp "$scratch/acknowledged" "$scratch/before"
printed "Copy while it runs"
touch "$scratch/enough"
wait "$loader"
later=$(ask POST /v1/jobs '{"type":"by-hand","queue":"kept"}' | field job_id)
printed "Start from a copy"
while read -r id; do until_status "$id" queued; done <"$scratch/before"
code=$(curl --silent --output /dev/null --write-out '%{http_code}' --header "x-api-key: $KEY" "$url/v1/jobs/$later")
[ "$code" = 404 ] || fail "a job from after the copy is answered with $code: the server does not run on the copy"
echo "ok    $(wc -l <"$scratch/before") jobs that were acknowledged before the copy are there"

say "new replicas come beside the old ones, under load"
rm "$scratch/enough"
: >"$scratch/refused"
load "$scratch/meanwhile" &
loader=$!
until_loaded "$scratch/meanwhile" 10
printed "New replicas beside the old"
until_loaded "$scratch/meanwhile" $(($(wc -l <"$scratch/meanwhile") + 10))
touch "$scratch/enough"
wait "$loader"
# One request per replica may have arrived just when it closed its port.
[ "$(wc -l <"$scratch/refused")" -le 2 ] || fail "refused meanwhile: $(cat "$scratch/refused")"
while read -r id; do until_status "$id" queued; done <"$scratch/meanwhile"
replicas=$(docker ps --filter "ancestor=$TAG:2" --filter "label=com.docker.compose.service=queuey" --quiet | wc -l)
[ "$replicas" = 2 ] || fail "there are $replicas new replicas"
echo "ok    $(wc -l <"$scratch/meanwhile") jobs, $(wc -l <"$scratch/refused") requests were sent again"
say "all passed"
