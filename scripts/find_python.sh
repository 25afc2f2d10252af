#!/bin/sh
# Prints a Python that can build the virtual environment: the given one, else the first suitable one on PATH.
# Version managers put commands on PATH that fail when they run, so each candidate is run.
set -u

probe='import sys
if sys.version_info < (3, 11):
    sys.exit("it is Python %d.%d" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("it lacks the venv module (on Debian and Ubuntu: apt install python3-venv)")'

if [ $# -eq 0 ]; then
    set -- python3 python3.14 python3.13 python3.12 python3.11 python
fi

findings=""
for candidate in "$@"; do
    if ! command -v "$candidate" >/dev/null 2>&1; then
        why="not found"
    elif why=$("$candidate" -c "$probe" 2>&1); then
        echo "$candidate"
        exit 0
    fi
    findings="$findings
  $candidate: $(echo "$why" | head -n 1)"
done

cat >&2 <<MESSAGE
Queuey needs Python 3.11 or newer, and none was found:$findings
Install one and run make again, or name one that is not on PATH, as in: make PYTHON=/opt/python/bin/python3.13
MESSAGE
exit 1
