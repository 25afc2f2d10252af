#!/bin/sh
# Writes requirements/*.txt from pyproject.toml; flags (--upgrade) are passed on. `make lock` calls it.
# The result must hold on every supported system and name no package index, so the settings of this machine
# are kept out (--no-config) and resolution is universal from the oldest Python on.
set -eu

compile() {
    output=$1
    shift
    "$UV" pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
        --output-file "requirements/$output.txt" "$@"
    echo "requirements/$output.txt"
}

# What a later file shares with an earlier one is pinned to the same release there.
compile build --group build "$@"
compile runtime pyproject.toml -c requirements/build.txt "$@"
compile dev pyproject.toml --group build --group test --group lint \
    -c requirements/runtime.txt -c requirements/build.txt "$@"
compile demo --group demo -c requirements/dev.txt "$@"
compile deploy --group deploy "$@"
compile image --group image -c requirements/dev.txt "$@"
compile workflows --group workflows "$@"
compile audit --group audit -c requirements/workflows.txt "$@"
compile lock --group lock "$@"

# The peers of `make bench-peers`, each alone.
for peer in bench/peers/requirements/*.in; do
    compile "../${peer%.in}" "$peer" "$@"
done
