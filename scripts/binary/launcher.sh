#!/bin/sh
# Queuey @VERSION@ for @PLATFORM@: this script, and behind it a compressed folder with Python, Queuey and Valkey.
# The folder is unpacked once, then used by each start. docs/binary.md says where, and what to do if that fails.
queuey() {
    set -eu
    id=@ID@ size=@SIZE@ block=@BLOCK@ first=@FIRST@ crc=@CRC@ room=@ROOM@ glibc=@GLIBC@
    self=$0
    [ -f "$self" ] || self=$(command -v -- "$self") # sh queuey
    unset PYTHONHOME
    failures=

    if [ -n "${QUEUEY_UNPACK_DIR:-}" ]; then
        use "$QUEUEY_UNPACK_DIR" "$@"
    else
        cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
        for parent in "$cache" "${TMPDIR:-/tmp}" /var/tmp; do
            case $parent in /*) ;; *) continue ;; esac
            base=$parent/queuey
            [ "$parent" = "$cache" ] || base=$base-$(id -u)
            # Programs come from here, so no other user may have made it, or may write to it.
            if ! (umask 077 && mkdir -p "$base") 2>/dev/null || [ -L "$base" ] || [ ! -O "$base" ]; then
                failed "$base" "It cannot be made, is a link, or belongs to another user."
                continue
            fi
            case $(LC_ALL=C ls -ld "$base") in
            ?????w* | ????????w*)
                failed "$base" "Other users may write to it. Correct that: chmod go-w $base"
                continue
                ;;
            esac
            use "$base" "$@"
        done
    fi
    stop "Cannot unpack: this needs a folder of $room MB where programs may run.$failures
Set QUEUEY_UNPACK_DIR to such a folder."
}

stop() {
    printf 'queuey: %s\n' "$1" >&2
    exit 3
}

damaged() {
    [ -z "$new" ] || rm -rf "$new"
    stop "$self is damaged or was replaced: $1. Download or build it again, or start it once more."
}

failed() {
    failures="$failures
- $1: $2"
}

# use FOLDER ARGS...: becomes the program unpacked there. Returns only if that fails, with the reason in $failures.
use() {
    base=$1
    shift
    case $base in /*) ;; *) base=$PWD/$base ;; esac
    [ -s "$base/$id/whole" ] || unpack || return 0
    if [ ! -x "$base/$id/bin/python3" ]; then # also if it was mounted with noexec since
        failed "$base" "Programs may not run there."
        return 0
    fi
    find_libraries "$base/$id"
    exec "$base/$id/bin/python3" -P -m queuey "$@"
}

# Without /proc, a program cannot find its libraries from its own path.
find_libraries() {
    [ -e /proc/self/exe ] || export LD_LIBRARY_PATH="$1/lib"
}

unpack() {
    new=
    actual=$(wc -c <"$self" | tr -d ' ')
    [ "$actual" = "$size" ] || damaged "it has $actual bytes instead of $size"
    if ! new=$(umask 022 && mkdir -p "$base" && mktemp -d "$base/queuey-new.XXXXXX") 2>/dev/null; then
        failed "$base" "It cannot be written to."
        return 1
    fi
    trap 'rm -rf "$new"; exit 130' INT
    trap 'rm -rf "$new"; exit 143' TERM HUP
    # A tar with Python comes first; that unpacks the rest, which tar and gzip would need four times as long for.
    if ! said=$(dd if="$self" bs="$block" skip=1 count="$first" 2>/dev/null |
        (unset TAR_OPTIONS && umask 022 && tar -xof - -C "$new") 2>&1); then
        failed "$base" "$(printf '%s\n' "${said:-A process was killed.}" | tail -n 1)"
    elif said=$(find_libraries "$new" && "$new/bin/python3" -I -S -X utf8 "$new/unpack.py" "$self" "$new" "$base/$id" \
        "$block" "$((first * block))" "$crc" 2>&1); then
        trap - INT TERM HUP
        return 0
    elif [ $? = 2 ]; then
        damaged "its content is not what was built"
    elif [ -n "$glibc" ] && printf '%s' "$said" | grep -q "GLIBC_"; then
        rm -rf "$new"
        stop "This Linux is too old: glibc $glibc or newer is needed. Build the file on this system: make binary"
    else
        failed "$base" "$(printf '%s\n' "${said:-A process was killed.}" | tail -n 1)"
    fi
    trap - INT TERM HUP
    rm -rf "$new"
    return 1
}

queuey "$@"
exit
