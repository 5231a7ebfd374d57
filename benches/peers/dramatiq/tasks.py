"""The actor that `dramatiq` runs in its worker processes, and the middleware that records it.

Each process writes its records to a pipe every 10 ms, so that recording costs little.
"""

import os
import struct
import threading
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

# The digits of a task's number at the start of its payload.
DIGITS = 8
# A record: its kind, the number of the task, and the time in nanoseconds.
RECORD = struct.Struct("<cIQ")
BOOTED, HANDLED, ACKNOWLEDGED = b"b", b"h", b"a"
FLUSH_SECONDS = 0.01


class Recorder(dramatiq.Middleware):
    """Writes records to the pipe of the parent."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe
        self.records: list[bytes] = []
        self.lock = threading.Lock()

    def add(self, kind: bytes, number: int) -> None:
        record = RECORD.pack(kind, number, time.monotonic_ns())
        with self.lock:
            self.records.append(record)

    def flush(self) -> None:
        with self.lock:
            data, self.records = b"".join(self.records), []
        while data:
            data = data[os.write(self.pipe, data):]

    def before_worker_boot(self, broker, worker) -> None:
        self.add(BOOTED, 0)

        def flush_often() -> None:
            while True:
                time.sleep(FLUSH_SECONDS)
                self.flush()

        threading.Thread(target=flush_often, daemon=True).start()

    def after_ack(self, broker, message) -> None:
        self.add(ACKNOWLEDGED, 0)

    def after_worker_shutdown(self, broker, worker) -> None:
        self.flush()


broker = RedisBroker(host="127.0.0.1", port=int(os.environ["PEER_PORT"]))
recorder = Recorder(int(os.environ.get("PEER_PIPE", "-1")))
if recorder.pipe >= 0:
    broker.add_middleware(recorder)
dramatiq.set_broker(broker)


@dramatiq.actor
def handle(payload: str) -> None:
    recorder.add(HANDLED, int(payload[:DIGITS]))
