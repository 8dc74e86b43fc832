#!/bin/sh
# Starts the job that `register` noted, shows what happens until its end, and what came out.
set -eu
if [ ! -s "$WORK/job-id" ]; then
    echo "error: no job is registered: make register" >&2
    exit 1
fi
job_id=$(cat "$WORK/job-id")
ex_id=$("$TERASLICE" -o json jobs start "$TERASLICE_URL" "$job_id" | sed -n 's/.*"ex_id": *"\([^"]*\)".*/\1/p')
if [ -z "$ex_id" ]; then
    echo "error: job $job_id was not started" >&2
    exit 1
fi
echo "job $job_id runs as execution $ex_id"
code=0
"$TERASLICE" ex tail "$TERASLICE_URL" "$ex_id" --timeout "$TIMEOUT" || code=$?

echo
"$TERASLICE" ex status "$TERASLICE_URL" "$ex_id"
if [ "$code" -ne 0 ]; then
    "$TERASLICE" ex explain "$TERASLICE_URL" "$ex_id" || :
    "$TERASLICE" ex errors "$TERASLICE_URL" "$ex_id" || :
    exit "$code"
fi
echo
echo "records that operations refused:"
curl --fail --silent --show-error ${TERASLICE_TOKEN:+--header "Authorization: Bearer $TERASLICE_TOKEN"} \
    "$TERASLICE_URL/v1/ex/$ex_id/dead_letters?size=3"
echo
