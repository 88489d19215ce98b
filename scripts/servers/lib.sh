# shellcheck shell=bash
# Shared by the scripts that run real S3 servers for tests. Sourced, not run.
#
# A server script defines: installed, install, launch DIR PORT (starts processes with `spawn`, waits until they answer)
# and environment PORT (prints NAME=value lines). `dispatch "$@"` gives it its commands:
#
#   install          installs the server unless it is there; exit status 3 when it cannot be installed here
#   start DIR PORT   starts it with its data in the folder DIR, prints the environment to use it with
#   stop DIR         stops it
#   run PORT         starts it in a new temporary folder, prints the environment and READY, and stops it and removes the
#                    folder when its standard input ends: a server that cannot outlive the test that asked for it,
#                    whatever kills the test

set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Absolute, so that it can be named from anywhere.
cache=$(realpath -m "${ATFS_TEST_CACHE:-$repository/target/servers}")

say() { echo "$*" >&2; }

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
    local port
    for _ in {1..100}; do
        port=$((20000 + RANDOM % 10000))
        answers "$port" || { echo "$port"; return 0; }
    done
    return 1
}

# wait_until SECONDS COMMAND...: until it succeeds.
wait_until() {
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# spawn NAME COMMAND...: in a process group of its own, output to DIR/NAME.log, group id to DIR/pids.
spawn() {
    local name=$1; shift
    setsid "$@" >>"$dir/$name.log" 2>&1 </dev/null &
    echo "$! $name" >>"$dir/pids"
    # Without a word from the shell when it is killed.
    disown
}

# stop_all DIR [SIGNAL]
stop_all() {
    local dir=$1 pid name
    [ -f "$dir/pids" ] || return 0
    while read -r pid name; do kill "-${2:-TERM}" -- "-$pid" 2>/dev/null || true; done <"$dir/pids"
    while read -r pid name; do
        wait_until 5 gone "$pid" || kill -KILL -- "-$pid" 2>/dev/null || true
    done <"$dir/pids"
    rm -f "$dir/pids"
}

# A process that has ended but was not reaped (its parent is gone, and init may be no init) is gone too.
gone() { ! kill -0 -- "-$1" 2>/dev/null || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

# One installation at a time, however many tests begin at once.
install_once() {
    installed && return 0
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    installed || install >&2
    exec 9>&-
}

start_in() {
    dir=$1
    if answers "$2"; then
        say "port $2 is taken"
        return 1
    fi
    if ! launch "$dir" "$2"; then
        say "$(basename "$0") did not start; the last lines of its logs:"
        tail -n 15 "$dir"/*.log >&2 || true
        stop_all "$dir"
        return 1
    fi
}

dispatch() {
    case "${1:-} $#" in
    'install 1') install_once ;;
    'start 3')
        install_once
        mkdir -p "$2"
        dir=$(cd "$2" && pwd)
        start_in "$dir" "$3"
        environment "$3"
        ;;
    'stop 2') stop_all "$2" ;;
    'run 2')
        install_once
        dir=$(mktemp -d "${TMPDIR:-/tmp}/atfs-server-XXXXXX")
        # Its data goes with it, so it need not end in order.
        trap 'stop_all "$dir" KILL; rm -rf "$dir"' EXIT
        trap 'exit 143' TERM INT HUP
        start_in "$dir" "$2"
        environment "$2"
        echo READY
        cat >/dev/null
        ;;
    *)
        say "usage: $0 install | start DIR PORT | stop DIR | run PORT"
        return 2
        ;;
    esac
}
