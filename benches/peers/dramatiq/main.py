"""The peers benchmark's processes on dramatiq.

The protocol with the driver is described in ../README.md. The worker starts the command `dramatiq`
with one process for each processor, as its documentation recommends.
"""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ["PEER_PORT"] = sys.argv[2]
import tasks  # (it reads the port)

CONCURRENCY = int(sys.argv[3]) * int(sys.argv[4])
# How long the worker processes may take to start and to stop.
TIMEOUT_SECONDS = 60
OUTPUT_LOCK = threading.Lock()


def reply(value: dict[str, Any]) -> None:
    with OUTPUT_LOCK:
        print(json.dumps(value), flush=True)


def fail(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
    os._exit(1)


class Workers:
    """The worker processes of one start, and the records that they have written."""

    def __init__(self, expect: int, notify: bool) -> None:
        self.expect, self.notify = expect, notify
        self.numbers: list[int] = []
        self.handled_ns: list[int] = []
        self.booted_ns: list[int] = []
        self.acknowledged = 0
        self.finished_ns = 0
        self.all_booted = threading.Event()
        self.processes = min(os.cpu_count() or 1, CONCURRENCY)
        threads = -(-CONCURRENCY // self.processes)
        self.pipe, end = os.pipe()
        command = [sys.executable, "-m", "dramatiq", "tasks"]
        command += ["--processes", str(self.processes), "--threads", str(threads)]
        self.command = subprocess.Popen(
            command,
            cwd=Path(__file__).parent,
            env=os.environ | {"PEER_PIPE": str(end)},
            pass_fds=[end],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
        )
        os.close(end)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        if not self.all_booted.wait(TIMEOUT_SECONDS):
            fail(f"dramatiq did not start within {TIMEOUT_SECONDS} s")

    def read(self) -> None:
        size, rest = tasks.RECORD.size, b""
        while data := os.read(self.pipe, 1 << 16):
            data = rest + data
            whole = len(data) - len(data) % size
            rest = data[whole:]
            for kind, number, at in tasks.RECORD.iter_unpack(data[:whole]):
                self.record(kind, number, at)
        os.close(self.pipe)
        if not self.all_booted.is_set():
            fail("dramatiq ended while it started")

    def record(self, kind: bytes, number: int, at: int) -> None:
        if kind == tasks.HANDLED:
            self.numbers.append(number)
            self.handled_ns.append(at)
        elif kind == tasks.BOOTED:
            self.booted_ns.append(at)
            if len(self.booted_ns) == self.processes:
                self.all_booted.set()
        else:
            self.acknowledged += 1
            if self.acknowledged <= self.expect:
                self.finished_ns = max(self.finished_ns, at)
            if self.notify or self.acknowledged == self.expect:
                reply({"done": self.acknowledged})

    def stop(self) -> dict[str, Any]:
        self.command.terminate()
        self.command.wait(TIMEOUT_SECONDS)
        self.reader.join(TIMEOUT_SECONDS)
        return {
            "started_ns": min(self.booted_ns),
            "finished_ns": self.finished_ns,
            "numbers": self.numbers,
            "handled_ns": self.handled_ns,
        }


def payloads(request: dict[str, Any]) -> list[str]:
    numbers = range(request["first"], request["first"] + request["count"])
    return [f"{number:0{tasks.DIGITS}}".ljust(request["bytes"], "x") for number in numbers]


def submit(request: dict[str, Any]) -> dict[str, Any]:
    data, sent_ns = payloads(request), []
    began = time.perf_counter()
    if request["mode"] == "single":
        for payload in data:
            sent_ns.append(time.monotonic_ns())
            tasks.handle.send(payload)
    elif request["mode"] == "pipelined":
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            for _ in pool.map(tasks.handle.send, data):
                pass
    else:
        fail("dramatiq has no call that submits many tasks")
    return {"seconds": time.perf_counter() - began, "sent_ns": sent_ns}


def paced(request: dict[str, Any]) -> dict[str, Any]:
    """Submits at a constant rate, from one thread because a send takes a fraction of the pause."""
    data, sent_ns = payloads(request), []
    began = time.perf_counter()
    for at, payload in enumerate(data):
        wait = at / request["per_second"] - (time.perf_counter() - began)
        if wait > 0:
            time.sleep(wait)
        sent_ns.append(time.monotonic_ns())
        tasks.handle.send(payload)
    return {"seconds": time.perf_counter() - began, "sent_ns": sent_ns}


def main() -> None:
    workers = None
    reply({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        match request["op"]:
            case "submit":
                reply(submit(request))
            case "paced":
                reply(paced(request))
            case "start":
                workers = Workers(request["expect"], request["notify"])
                reply({"started_ns": min(workers.booted_ns)})
            case "stop" if workers:
                reply(workers.stop())
            case _:
                fail(f"unexpected request {line}")


main()
