"""The workloads: each takes one measurement of one system on a fresh server."""

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from . import BenchError
from .process import PeerProcess, Reply
from .server import Server
from .systems import System

# The payloads of 4 KiB and without filler: a task's number alone has 8 bytes.
PAYLOAD_BYTES = 4_096
EMPTY_BYTES = 0
# Submissions that are awaited one after the other, at most.
MAX_SINGLE = 2_000
# The pause before a dispatch sample, so that the workers are idle.
DISPATCH_PAUSE_SECONDS = (0.02, 0.04)
# How long a second run of a task has to show, after the last expected completion.
SETTLE_SECONDS = 0.2
# How long the workers have to become idle before the idle cost is measured.
IDLE_WARM_UP_SECONDS = 2.0
# The server updates the memory of each connection once a second.
QUIET_SECONDS = 1.2
# Below this part of the intended rate, the submitter was the bound of the latency workload.
LOAD_REACHED = 0.95

Figures = dict[str, float]


@dataclass(frozen=True)
class Options:
    """The options of a run that workloads use."""

    server: str
    aof: bool
    tasks: int
    warm_up: int
    dispatch_samples: int
    load_seconds: float
    idle_seconds: float
    timeout: float
    warn: Callable[[str], None]


class Fixture:
    """A private server, and the two processes of a system."""

    def __init__(self, system: System, options: Options) -> None:
        self.system, self.options = system, options
        self.open: list[Server | PeerProcess] = []
        self.logs = tempfile.TemporaryDirectory(prefix="ff-peers-logs-")

    def __enter__(self) -> Self:
        try:
            self.server = Server(self.options.server, self.options.aof)
            self.open.append(self.server)
            self.client = self._process("client")
            self.worker = self._process("worker")
            self._warm_up()
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Ends the processes; after an error or an interruption by force."""
        for opened in reversed(self.open):
            if error is not None and isinstance(opened, PeerProcess):
                opened.kill()
            else:
                opened.close()
        self.open.clear()
        self.logs.cleanup()

    def _process(self, role: str) -> PeerProcess:
        name = f"{self.system.name} {role}"
        log = Path(self.logs.name) / role
        command = self.system.command(self.server.port)
        process = PeerProcess(name, command, log, self.options.timeout)
        self.open.append(process)
        process.wait_until_ready()
        return process

    def _warm_up(self) -> None:
        """Lets compilers, caches and connections become warm."""
        count = self.options.warm_up
        if count > 0:
            self.submit(self.fastest_mode(), count, EMPTY_BYTES)
            self.run_all(count)

    def fastest_mode(self) -> str:
        return "bulk" if self.system.bulk else "pipelined"

    def submit(self, mode: str, count: int, size: int) -> Reply:
        return self.client.request("submit", mode=mode, first=0, count=count, bytes=size)

    def run_all(self, count: int) -> Reply:
        """Runs the workers until all tasks are completed, and checks that each ran once."""
        self.worker.start(expect=count)
        self.worker.wait_for_completions(count)
        return self.stop(count)

    def stop(self, count: int) -> Reply:
        """Stops the workers, and checks that each of the tasks ran exactly once."""
        time.sleep(SETTLE_SECONDS)
        report = self.worker.request("stop")
        check_numbers(self.system.name, report["numbers"], count)
        return report

    def info(self) -> "Info":
        return Info(self.server.info())

    def quiet_info(self) -> "Info":
        """Waits until the server has updated the memory of its connections. No worker runs."""
        time.sleep(QUIET_SECONDS)
        return self.info()


class Info:
    """The figures of a server."""

    def __init__(self, fields: dict[str, str]) -> None:
        self.fields = fields

    def number(self, name: str) -> float:
        try:
            return float(self.fields[name])
        except (KeyError, ValueError):
            raise BenchError(f"the server's INFO has no number {name}") from None

    @property
    def cpu_us(self) -> float:
        return (self.number("used_cpu_user") + self.number("used_cpu_sys")) * 1e6

    @property
    def data_bytes(self) -> float:
        """The memory, without that of connections and of the AOF's buffer."""
        other = self.number("mem_clients_normal") + self.number("mem_aof_buffer")
        return self.number("used_memory") - other

    @property
    def aof_bytes(self) -> float:
        return self.number("aof_current_size")


def check_numbers(name: str, numbers: list[int], count: int) -> None:
    """Fails unless the numbers are those from 0 to the count, each of them once."""
    seen, expected = set(numbers), set(range(count))
    missing, unknown, again = expected - seen, seen - expected, len(numbers) - len(seen)
    if missing or unknown or again:
        raise BenchError(
            f"{name} did not run each of {count} tasks exactly once: {len(missing)} never ran, "
            f"{again} runs were repeated, {len(unknown)} numbers are unknown"
        )


def percentile(values: list[float], percent: float) -> float:
    """Returns the smallest value that at least this percentage of the values does not exceed."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def latencies_ms(sent: Reply, report: Reply) -> list[float]:
    """Returns the time from the submit call of each task to the start of its handler."""
    sent_ns = sent["sent_ns"]
    pairs = zip(report["numbers"], report["handled_ns"], strict=True)
    return [(handled - sent_ns[number]) / 1e6 for number, handled in pairs]


def drain(system: System, options: Options, _: Figures) -> Figures:
    """Submits all tasks, then starts the workers: with payloads of 4 KiB, and without."""
    full = drain_payload(system, options, PAYLOAD_BYTES)
    empty = drain_payload(system, options, EMPTY_BYTES)
    figures = {
        "drain_4k_per_s": full["drain_per_s"],
        "drain_empty_per_s": empty["drain_per_s"],
        "cpu_4k_us": full["cpu_us"],
        "cpu_empty_us": empty["cpu_us"],
        "memory_pending_bytes": empty["pending_bytes"],
        "memory_completed_bytes": empty["completed_bytes"],
    }
    if system.bulk:
        figures["submit_bulk_per_s"] = full["submit_per_s"]
    if options.aof:
        figures["aof_4k_bytes"] = full["aof_bytes"]
    return figures


def drain_payload(system: System, options: Options, size: int) -> Figures:
    count = options.tasks
    with Fixture(system, options) as fixture:
        # The memory of small tasks needs exact figures of the connections' memory.
        info = fixture.quiet_info if size == EMPTY_BYTES else fixture.info
        empty = info()
        before_submit = fixture.info()
        submitted = fixture.submit(fixture.fastest_mode(), count, size)
        after_submit = fixture.info()
        pending = info()
        before_run = fixture.info()
        fixture.worker.start(expect=count)
        fixture.worker.wait_for_completions(count)
        after_run = fixture.info()
        report = fixture.stop(count)
        completed = info()
    seconds = (report["finished_ns"] - report["started_ns"]) / 1e9
    cpu_us = after_submit.cpu_us - before_submit.cpu_us + after_run.cpu_us - before_run.cpu_us
    figures = {
        "submit_per_s": count / submitted["seconds"],
        "drain_per_s": count / seconds,
        "cpu_us": cpu_us / count,
        "pending_bytes": (pending.data_bytes - empty.data_bytes) / count,
        "completed_bytes": (completed.data_bytes - pending.data_bytes) / count,
    }
    if options.aof:
        figures["aof_bytes"] = (completed.aof_bytes - empty.aof_bytes) / count
    return figures


def submit(system: System, options: Options, _: Figures) -> Figures:
    """Submits one after the other, and many at the same time; then runs them as a check."""
    single = submit_rate(system, options, "single", min(options.tasks, MAX_SINGLE))
    pipelined = submit_rate(system, options, "pipelined", options.tasks)
    return {"submit_single_per_s": single, "submit_pipelined_per_s": pipelined}


def submit_rate(system: System, options: Options, mode: str, count: int) -> float:
    with Fixture(system, options) as fixture:
        submitted = fixture.submit(mode, count, PAYLOAD_BYTES)
        fixture.run_all(count)
    return float(count / submitted["seconds"])


def dispatch(system: System, options: Options, _: Figures) -> Figures:
    """Submits one task at a time to idle workers."""
    count = options.dispatch_samples
    pauses = random.Random(count)
    sent_ns: list[int] = []
    with Fixture(system, options) as fixture:
        fixture.worker.start(expect=count, notify=True)
        for number in range(count):
            time.sleep(pauses.uniform(*DISPATCH_PAUSE_SECONDS))
            sent = fixture.client.request(
                "submit", mode="single", first=number, count=1, bytes=PAYLOAD_BYTES
            )
            sent_ns += sent["sent_ns"]
            fixture.worker.wait_for_completions(number + 1)
        report = fixture.stop(count)
    waited = latencies_ms({"sent_ns": sent_ns}, report)
    return {"dispatch_p50_ms": percentile(waited, 50), "dispatch_p95_ms": percentile(waited, 95)}


def load(system: System, options: Options, earlier: Figures) -> Figures:
    """Submits at half of the rate at which the workers drained in this round."""
    drained = earlier.get("drain_4k_per_s")
    if drained is None:
        drained = drain_payload(system, options, PAYLOAD_BYTES)["drain_per_s"]
    per_second = drained / 2
    count = max(100, int(per_second * options.load_seconds))
    with Fixture(system, options) as fixture:
        fixture.worker.start(expect=count)
        sent = fixture.client.request(
            "paced", first=0, count=count, bytes=PAYLOAD_BYTES, per_second=per_second
        )
        fixture.worker.wait_for_completions(count)
        report = fixture.stop(count)
    sent_ns = sent["sent_ns"]
    reached = (count - 1) * 1e9 / (sent_ns[-1] - sent_ns[0])
    if reached < per_second * LOAD_REACHED:
        options.warn(
            f"{system.name}: its client submitted {reached:,.0f} tasks/s instead of "
            f"{per_second:,.0f}, so its latency is that of a lower load"
        )
    waited = latencies_ms(sent, report)
    return {
        "load_per_s": reached,
        "load_p50_ms": percentile(waited, 50),
        "load_p95_ms": percentile(waited, 95),
        "load_p99_ms": percentile(waited, 99),
    }


def idle(system: System, options: Options, _: Figures) -> Figures:
    """Runs the workers without tasks."""
    with Fixture(system, options) as fixture:
        fixture.worker.start(expect=0)
        time.sleep(IDLE_WARM_UP_SECONDS)
        before, began = fixture.info(), time.monotonic()
        time.sleep(options.idle_seconds)
        after, seconds = fixture.info(), time.monotonic() - began
        fixture.stop(0)
    commands = "total_commands_processed"
    # The first INFO counts itself after it has printed the number.
    count = max(0.0, after.number(commands) - before.number(commands) - 1)
    return {
        "idle_commands_per_s": count / seconds,
        "idle_cpu_ms_per_s": (after.cpu_us - before.cpu_us) / 1e3 / seconds,
    }


# The order matters: load uses the drain of the same round.
WORKLOADS: dict[str, Callable[[System, Options, Figures], Figures]] = {
    "drain": drain,
    "submit": submit,
    "dispatch": dispatch,
    "load": load,
    "idle": idle,
}
