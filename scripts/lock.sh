#!/bin/sh
# Writes requirements/*.txt from pyproject.toml. Flags (--upgrade) are passed on. `make lock` calls it.
# The result must be valid on every supported system and must not name a package index. So the settings of this
# machine are ignored (--no-config), and resolution is universal from the oldest Python.
set -eu

compile() {
    output=$1
    shift
    "$UV" pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
        --output-file "requirements/$output.txt" "$@"
    echo "requirements/$output.txt"
}

# Packages that two files share are pinned to the same release.
compile build --group build "$@"
compile runtime pyproject.toml -c requirements/build.txt "$@"
compile dev pyproject.toml --group build --group test --group lint \
    -c requirements/runtime.txt -c requirements/build.txt "$@"
compile demo --group demo -c requirements/dev.txt "$@"
compile binary --group binary -c requirements/dev.txt -c requirements/runtime.txt "$@"
compile binary-build --group build --group binary-build -c requirements/build.txt "$@"
compile deploy --group deploy "$@"
compile image --group image -c requirements/dev.txt "$@"
compile workflows --group workflows "$@"
compile audit --group audit -c requirements/workflows.txt "$@"
compile page --group page "$@"
compile lock --group lock "$@"

# The peers of `make bench-peers`, each in its own file.
for peer in bench/peers/requirements/*.in; do
    compile "../${peer%.in}" "$peer" "$@"
done
