#!/usr/bin/env python3
"""What examples/flights/job.yaml does, in plain Python: reference.py FLIGHTS.csv > out.ldjson

Lines that are no rows are left out; their number goes to stderr.
"""
import json
import re
import sys

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?\Z", re.ASCII)
ALLIANCE = {"UA", "AA", "DL", "US"}


def typed(text):
    if NUMBER.match(text):
        return json.loads(text)
    return {"true": True, "false": False}.get(text, text)


def rows(path):
    bad = 0
    with open(path, "rb") as lines:
        names = next(lines).decode().strip().split(",")
        for line in lines:
            try:
                values = [value.strip() for value in line.rstrip(b"\r\n").decode().split(",")]
            except UnicodeDecodeError:
                bad += 1
                continue
            if len(values) != len(names):
                bad += 1
                continue
            yield {name: typed(value) for name, value in zip(names, values) if value}
    print(f"{bad} bad lines", file=sys.stderr)


def main(path):
    for row in rows(path):
        if "NA" in (row.get("dep_delay"), row.get("arr_delay")):
            continue
        if row.get("tailnum") == "D942DN":
            continue
        if row.get("carrier") in ALLIANCE:
            row["alliance"] = {"member": True}
        if "dest" in row:
            row["destination"] = row.pop("dest")
        for name in ("time_hour", "minute", "hour"):
            row.pop(name, None)
        print(json.dumps(row, separators=(",", ":"), ensure_ascii=False))


if __name__ == "__main__":
    main(sys.argv[1])
