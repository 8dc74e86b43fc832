#!/usr/bin/env bash
# Runs the flights job in a folder of its own under the cache and shows what came out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$CACHE/demo
mkdir -p "$work"
"$here/fetch.sh" "$work/flights.csv"
rm -rf "$work/flights-out"
cp "$here/job.yaml" "$work/job.yaml"
cd "$work"
"$TERASLICE" run job.yaml --state-dir "$work/state"
printf '\nThe result lies in %s:\n' "$work/flights-out"
ls -l "$work/flights-out"
head -n 2 "$work"/flights-out/*.ldjson
