#!/usr/bin/env python3
"""Speaks the protocol until the first observe, and then does what its argument says."""

import json
import os
import sys
import time

FAULT = sys.argv[1]
HELLO = {
    "magic": "teraslice-backend", "protocol": {"major": 1, "minor": 0}, "name": "faulty", "version": "1",
    "config_schema": True,
}


def write(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


if FAULT == "exits_at_once":
    sys.exit("no queue manager here")
if FAULT == "hangs":
    time.sleep(600)
late = None
for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    result = None
    if request["method"] == "handshake":
        result = HELLO
        if FAULT == "other_version":
            result = {**HELLO, "protocol": {"major": 2, "minor": 0}}
        elif FAULT == "other_magic":
            result = {**HELLO, "magic": "hello"}
        elif FAULT == "no_schema":
            result = {**HELLO, "config_schema": {"type": "objekt"}}
    elif request["method"] == "observe":
        result = {"instances": []}
        if FAULT == "exits":
            sys.stderr.write("the disk is gone\n")
            sys.exit(3)
        elif FAULT == "floods_stderr":
            for _ in range(2000):
                sys.stderr.write("x" * 20000 + "\n")
        elif FAULT == "late":
            if late is None:
                late = True
                time.sleep(1.6)
        elif FAULT == "answers_another":
            write({"id": 4711, "result": None})
            continue
        elif FAULT == "sends_too_much":
            piece = "x" * (1 << 20)
            try:
                for _ in range(1024):
                    sys.stdout.write(piece)
            except BrokenPipeError:
                os._exit(1)
        elif FAULT == "garbage":
            sys.stdout.write("hello, world\n" * 5)
            result = {"instances": "none"}
        elif FAULT == "chatters":
            sys.stdout.write("hello, world\n" * 200)
    write({"id": request["id"], "result": result})
