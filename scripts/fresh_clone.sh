#!/bin/sh
# Clones this repository into an empty folder and runs the README's two commands there: first the server, then the tests.
# Usage: sh scripts/fresh_clone.sh [REPOSITORY]. It uses the last commit.
set -eu

repository=$(cd "${1:-.}" && pwd)
folder=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT INT TERM

git clone --quiet "$repository" "$folder/clone"
cd "$folder/clone"
make run ARGS="--port 0 --data-dir $folder/data --log-format json" >"$folder/log" 2>&1 &
server=$!

tries=0
until url=$(sed -n 's/.*"started".*"url": "\([^"]*\)".*/\1/p' "$folder/log") && [ -n "$url" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ] || ! kill -0 "$server" 2>/dev/null; then
        cat "$folder/log"
        echo 'make run did not start a server' >&2
        exit 1
    fi
    sleep 1
done
.venv/bin/python - "$url" <<'PYTHON'
import sys, urllib.request

with urllib.request.urlopen(sys.argv[1] + "/readyz", timeout=10) as reply:
    print("make run:", reply.status, reply.read().decode())
PYTHON
make test
