#!/bin/sh
# forward.sh COMMAND...: runs it with a TERASLICE_URL that leads to the master: as it is set, else through kubectl.
set -eu
mkdir -p "$WORK"
if [ ! -x "$TERASLICE" ]; then
    echo "error: there is no $TERASLICE: make build, or TERASLICE=PATH" >&2
    exit 1
fi
# Aliases of the user stay as they are.
export TERASLICE_CONFIG_DIR="$WORK/config"
if [ -n "$TERASLICE_URL" ]; then
    "$@"
    exit
fi

log=$WORK/port-forward.log
: >"$log" # not what an earlier one has said
$KUBECTL --namespace "$NAMESPACE" port-forward service/teraslice-master :5678 >"$log" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || :; wait "$pid" 2>/dev/null || :' EXIT
trap 'exit 130' INT TERM
tries=0
until port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$log") && [ -n "$port" ]; do
    tries=$((tries + 1))
    if ! kill -0 "$pid" 2>/dev/null || [ "$tries" -gt 300 ]; then
        cat "$log" >&2
        echo "error: the master cannot be reached through kubectl: make show" >&2
        exit 1
    fi
    sleep 0.1
done
export TERASLICE_URL="http://127.0.0.1:$port"
"$@"
