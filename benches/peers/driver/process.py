"""A process of a peer, and the requests that it answers. README.md describes the protocol."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Any

from . import BenchError

LOG_TAIL = 2_000
END_SECONDS = 10

Reply = dict[str, Any]


class PeerProcess:
    """A started process. It is the leader of a process group, which ends with it."""

    def __init__(self, name: str, command: list[str], log: Path, timeout: float) -> None:
        self.name, self.log, self.timeout = name, log, timeout
        self.completions = 0
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdin and self.process.stdout
        self.stdin: IO[str] = self.process.stdin
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, args=[self.process.stdout], daemon=True).start()

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _next(self, waiting_for: str, deadline: float) -> Reply:
        try:
            line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            done = f"; {self.completions} tasks completed" if self.completions else ""
            raise self._error(f"{waiting_for} took more than {self.timeout:g} s{done}") from None
        if line is None:
            code = self.process.wait()
            raise self._error(f"ended with status {code} during {waiting_for}")
        try:
            reply: Reply = json.loads(line)
        except ValueError:
            raise self._error(f"printed a line that is not JSON: {line[:200]!r}") from None
        if "done" in reply:
            self.completions = reply["done"]
        return reply

    def _error(self, problem: str) -> BenchError:
        log = self.log.read_text(errors="replace")[-LOG_TAIL:].strip()
        details = f"; its log ends with:\n{log}" if log else ""
        return BenchError(f"{self.name}: {problem}{details}")

    def wait_until_ready(self) -> None:
        self._next("its start", time.monotonic() + self.timeout)

    def request(self, operation: str, **arguments: object) -> Reply:
        """Sends a request and returns its reply."""
        # If the process has ended, waiting for its reply reports that.
        with contextlib.suppress(OSError):
            self.stdin.write(json.dumps({"op": operation, **arguments}) + "\n")
            self.stdin.flush()
        deadline = time.monotonic() + self.timeout
        while "done" in (reply := self._next(operation, deadline)):
            pass
        return reply

    def start(self, expect: int, notify: bool = False) -> None:
        self.completions = 0
        self.request("start", expect=expect, notify=notify)

    def wait_for_completions(self, count: int) -> None:
        deadline = time.monotonic() + self.timeout
        while self.completions < count:
            self._next(f"completing {count} tasks", deadline)

    def close(self) -> None:
        """Ends the process group, after the process had time to end by itself."""
        with contextlib.suppress(OSError):
            self.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)
        self.kill()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
