#!/usr/bin/env python3
"""A cluster backend in Python: starts controllers and workers as processes of this machine.

It speaks the protocol of docs/backend-protocol.md: a JSON-RPC 2.0 message per line on standard input and output.
What is there is read from /proc each time; memory holds only what the system does not know.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

LOOK_EVERY = 0.02
KILL_MAX = 8.0
NODE_TYPES = {"controller": "execution_controller", "worker": "worker"}
ROLES = {word: role for role, word in NODE_TYPES.items()}
UNAVAILABLE, REFUSED, METHOD, INTERNAL = -32001, -32003, -32601, -32603

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"log_directory": {"type": "string"}},
}


class Failure(Exception):
    """An error that the host is told: a code and a message."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def now_ms():
    return int(time.time() * 1000)


def stat(pid):
    """Returns whether a process is dead, its group, and when it was started; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return fields[0] in "ZXx", int(fields[2]), int(fields[19])


class Process:
    """A process of ours, started by this program (child) or by one before it."""

    def __init__(self, pid, start, key, child=None):
        self.pid, self.start, self.key, self.child = pid, start, key, child
        self.phase, self.since_ms, self.kill_at_ms = "running", now_ms(), None

    def id(self):
        return f"process-{self.pid}-{self.start}"

    def is_live(self):
        return isinstance(self.phase, str)

    def signal(self, number):
        found = stat(self.pid)
        if found and not found[0] and found[2] == self.start:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass

    def drain(self, grace_ms):
        if not self.is_live():
            return
        kill_at_ms = now_ms() + grace_ms
        if self.kill_at_ms is None:
            self.phase, self.since_ms = "draining", now_ms()
            self.signal(signal.SIGTERM)
            self.kill_at_ms = kill_at_ms
        self.kill_at_ms = min(self.kill_at_ms, kill_at_ms)

    def ended(self):
        """Returns how it ended; None while it runs."""
        if self.child is not None:
            code = self.child.poll()
            if code is None:
                return None
            if code == 0:
                return "completed"
            return {"code": code} if code > 0 else {"signal": -code}
        found = stat(self.pid)
        is_live = found and not found[0] and found[2] == self.start
        return None if is_live else "unknown"


class Backend:
    def __init__(self):
        self.lock = threading.RLock()
        self.known = {}
        self.cluster = self.logs = None

    # --- the methods of the protocol ---

    def handshake(self, params):
        return {
            "magic": "teraslice-backend",
            "protocol": {"major": 1, "minor": 0},
            "name": "fork-exec-python",
            "version": "0.1.0",
            "capabilities": ["events", "detach"],
            "config_schema": SCHEMA,
        }

    def start(self, params):
        self.cluster = params["cluster"]
        self.logs = params["config"].get("log_directory") or os.path.join(params["state_directory"], "logs")
        os.makedirs(self.logs, exist_ok=True)
        threading.Thread(target=self.watch, daemon=True).start()

    def adopt(self, params):
        pass

    def ensure(self, params):
        desired = params["desired"]
        ex_id, generation = desired["ex_id"], desired["generation"]
        counts = {"controller": int(desired["controller"]), "worker": desired["workers"]}
        self.survey()
        for role, count in counts.items():
            for ordinal in range(count):
                key = (ex_id, generation, role, ordinal)
                if any(it.key == key and it.is_live() for it in self.known.values()):
                    continue
                process = self.launch(key, desired[f"{role}_process"])
                self.known = {pid: it for pid, it in self.known.items() if it.key != key}
                self.known[process.pid, process.start] = process
                event(ex_id)
        for it in self.known.values():
            is_old = it.key[1] < generation
            is_surplus = it.key[1] == generation and it.key[3] >= counts[it.key[2]]
            if it.key[0] == ex_id and (is_old or is_surplus):
                it.drain(desired["drain_grace_ms"])

    def retire(self, params):
        self.survey()

        def is_meant(it):
            return it.key[0] == params["ex_id"] and it.key[1] <= params["generation_max"]

        live = [it for it in self.known.values() if is_meant(it) and it.is_live()]
        for it in live:
            if params["how"] == "kill":
                it.signal(signal.SIGKILL)
            else:
                it.drain(params["grace_ms"])
        if not live:
            self.known = {pid: it for pid, it in self.known.items() if not is_meant(it)}
        return {"unconfirmed": [it.id() for it in live]}

    def observe(self, params):
        as_of_ms, ex_id = now_ms(), params.get("ex_id")
        self.survey()
        wanted = [it for it in self.known.values() if ex_id is None or it.key[0] == ex_id]
        return {"as_of_ms": as_of_ms, "instances": [self.instance(it) for it in wanted]}

    def stop(self, params):
        if params["how"] == "detach":
            return
        give_up = time.monotonic() + KILL_MAX
        while True:
            self.survey()
            live = [it for it in self.known.values() if it.is_live()]
            if not live:
                return
            if time.monotonic() > give_up:
                raise Failure(UNAVAILABLE, "some processes cannot be killed")
            for it in live:
                it.signal(signal.SIGKILL)
            time.sleep(LOOK_EVERY)

    # --- what they share ---

    def instance(self, it):
        ex_id, generation, role, ordinal = it.key
        return {
            "id": it.id(), "ex_id": ex_id, "generation": generation, "role": role,
            "ordinal": ordinal, "phase": it.phase, "since_ms": it.since_ms,
        }

    def launch(self, key, template):
        ex_id, _, role, ordinal = key
        environment = {**os.environ, **template["environment"], "TERASLICE_ORDINAL": str(ordinal)}
        name = os.path.join(self.logs, f"{ex_id}-{NODE_TYPES[role]}-{ordinal}.log")
        try:
            with open(name, "ab") as log:
                child = subprocess.Popen(
                    [template["program"], *template["arguments"]], env=environment, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, process_group=0,
                )
        except (FileNotFoundError, PermissionError) as error:
            raise Failure(REFUSED, f"failed to start {template['program']}: {error}")
        return Process(child.pid, stat(child.pid)[2], key, child)

    def survey(self):
        """Looks at everything, also at what others have started."""
        for name in os.listdir("/proc"):
            found = self.find(int(name)) if name.isdigit() else None
            if found:
                self.known.setdefault((found.pid, found.start), found)
        self.look()

    def find(self, pid):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                entries = file.read().split(b"\0")
        except OSError:
            return None
        variables = dict(entry.decode("utf-8", "replace").split("=", 1) for entry in entries if b"=" in entry)
        found = stat(pid)
        # What an instance starts has inherited its environment, but does not lead a group.
        if variables.get("TERASLICE_CLUSTER") != self.cluster or not found or found[0] or found[1] != pid:
            return None
        try:
            role = ROLES[variables["NODE_TYPE"]]
            numbers = int(variables["TERASLICE_GENERATION"]), int(variables["TERASLICE_ORDINAL"])
            return Process(pid, found[2], (variables["TERASLICE_EX_ID"], numbers[0], role, numbers[1]))
        except (KeyError, ValueError):
            return None

    def look(self):
        """Takes down who has ended, and kills those whose time is over."""
        for it in list(self.known.values()):
            if not it.is_live():
                continue
            reason = it.ended()
            if reason is not None:
                it.phase, it.since_ms = {"exited": reason}, now_ms()
                event(it.key[0])
            elif it.kill_at_ms is not None and it.kill_at_ms <= now_ms():
                it.signal(signal.SIGKILL)

    def watch(self):
        while True:
            time.sleep(LOOK_EVERY)
            with self.lock:
                self.look()


WRITING = threading.Lock()


def write(message):
    with WRITING:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def event(ex_id):
    write({"method": "event", "params": {"ex_id": ex_id}})


def answer(backend, request):
    method = request["method"]
    methods = ("handshake", "start", "adopt", "ensure", "retire", "observe", "stop")
    if method not in methods:
        raise Failure(METHOD, f"there is no method {method!r}")
    with backend.lock:
        return getattr(backend, method)(request["params"])


def main():
    backend = Backend()
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request:
            continue  # "cancel": calls are short here, each is finished
        try:
            write({"id": request["id"], "result": answer(backend, request)})
        except Failure as failure:
            write({"id": request["id"], "error": {"code": failure.code, "message": str(failure)}})
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            write({"id": request["id"], "error": {"code": INTERNAL, "message": message}})


if __name__ == "__main__":
    main()
