#!/bin/sh
# Holds a running master against docs/openapi.json: run.sh URL JOB_IDS EX_IDS ASSET_ID (lists with commas).
# Ends with 75 where Schemathesis cannot be installed. It is kept between runs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/teraslice/schemathesis
document=$here/../../docs/openapi.json
# What is tried of each operation at the most, beside the edge cases that the document names.
examples=15
# Everything has to be over within this.
seconds=90

if ! "$cache/bin/st" --version >/dev/null 2>&1; then
    rm -rf "$cache"
    { python3 -m venv "$cache" && timeout 180 "$cache/bin/pip" install --quiet -r "$here/requirements.txt"; } >&2 || exit 75
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$cache/bin/python" "$here/config.py" "$document" "$2" "$3" "$4" >"$work/schemathesis.toml"
cd "$work"
timeout "$seconds" "$cache/bin/st" --config-file "$work/schemathesis.toml" run "$document" --url "$1" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --max-examples "$examples" --workers 1 --seed 1 --request-timeout 20 --generation-database none \
    --exclude-path-regex '/events$' --continue-on-failure --warnings off --no-color
