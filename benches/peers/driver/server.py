"""A private Valkey for one measurement, and a minimal client for its figures."""

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

from . import BenchError

START_SECONDS = 10
ATTEMPTS = 3


class Server:
    """A Valkey on a free port of the loopback interface, in a temporary folder."""

    def __init__(self, program: str, aof: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ff-peers-"))
        try:
            self.process, self.port = self._start(program, aof)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _start(self, program: str, aof: bool) -> tuple[subprocess.Popen[bytes], int]:
        # Another program may take the port before the server binds it, so this tries again.
        for _ in range(ATTEMPTS):
            port = free_port()
            process = self._spawn(program, port, aof)
            try:
                if wait_until_up(process, port):
                    return process, port
            except BaseException:
                end(process)
                raise
            end(process)
        log = (self.folder / "log").read_text(errors="replace")[-2_000:]
        raise BenchError(f"{program} did not start; its log ends with:\n{log}")

    def _spawn(self, program: str, port: int, aof: bool) -> subprocess.Popen[bytes]:
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if aof else "no",
            "appendfsync": "everysec",
            # A rewrite would hide the bytes that tasks append.
            "auto-aof-rewrite-percentage": "0",
        }
        command = [program]
        for name, value in options.items():
            command += [f"--{name}", value]
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C reaches the driver only, which stops the server itself.
                start_new_session=True,
            )

    def info(self) -> dict[str, str]:
        """Returns the fields of INFO."""
        with Connection(self.port) as connection:
            text = connection.call("INFO").decode()
        pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
        return dict(pairs)

    def close(self) -> None:
        end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)


class Connection:
    """Sends commands whose replies are simple or bulk strings."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS)
        self.file: BinaryIO = self.socket.makefile("rb")

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def call(self, *words: str) -> bytes:
        parts = [f"${len(word)}\r\n{word}\r\n" for word in words]
        self.socket.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
        head = self.file.readline().rstrip()
        match head[:1]:
            case b"+":
                return head[1:]
            case b"$":
                return self.file.read(int(head[1:]) + 2)[:-2]
            case _:
                raise BenchError(f"{words[0]} failed: {head.decode(errors='replace')}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_up(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with Connection(port) as connection:
                return connection.call("PING") == b"PONG"
        except (OSError, BenchError, ValueError):
            time.sleep(0.02)
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process, by force if it does not end within some seconds."""
    process.terminate()
    try:
        process.wait(START_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
