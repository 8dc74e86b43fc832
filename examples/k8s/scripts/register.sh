#!/bin/sh
# Uploads $ASSET, if there is one, and registers $JOB; the job's id is noted for `example`.
set -eu
if [ -n "$ASSET" ]; then
    "$TERASLICE" assets deploy "$TERASLICE_URL" --file "$ASSET"
fi
# A copy: registering notes in the file which job it is.
cp "$JOB" "$WORK/job.json"
"$TERASLICE" -o name tjm register "$TERASLICE_URL" "$WORK/job.json" >"$WORK/job-id"
echo "registered $JOB as job $(cat "$WORK/job-id")"
"$TERASLICE" assets list "$TERASLICE_URL"
