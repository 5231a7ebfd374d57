"""A worker over HTTP: python3 worker.py URL LANE. FF_TOKEN holds its token, if one is needed."""
import json, os, signal, sys, threading, time, urllib.error, urllib.request

URL, LANE = sys.argv[1], sys.argv[2]
INSTANCE, TTL_MS = f"python-{os.getpid()}", int(os.environ.get("LEASE_TTL_MS", "30000"))
stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())


def call(path, body):
    """Returns the answer. Repeats the call while the service is unavailable; errors are final."""
    headers = {"Content-Type": "application/json"}
    if "FF_TOKEN" in os.environ:
        headers["Authorization"] = "Bearer " + os.environ["FF_TOKEN"]
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), headers)
    for attempt in range(10):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            if error.code not in (429, 502, 503, 504):
                raise RuntimeError(f"{path}: {error.code} {error.read().decode()}")
        except OSError:
            pass  # The answer is lost. It is safe to repeat each of these calls.
        time.sleep(min(5, 0.1 * 2**attempt))
    raise RuntimeError(f"{path}: the service does not answer")


def run(task, handler):
    """Runs the handler, and renews the lease beside it until the handler ends."""
    fence = {name: task[name] for name in ("execution_id", "lease_epoch", "attempt_id")}
    lease, done = "/v1/leases/" + task["lease_id"], threading.Event()
    if stopping.is_set():  # Gives it back. The next claim gets the same attempt.
        return call(lease + "/delay", fence | {"delay_ms": 0, "keeps_resumption": True})

    def renew():
        while not done.wait(TTL_MS / 3000):
            call(lease + "/renew", fence | {"lease_ttl_ms": TTL_MS})

    threading.Thread(target=renew, daemon=True).start()
    try:
        outcome = ("/complete", {"result": handler(task.get("payload"))})
    except Exception as error:
        outcome = ("/fail", {"reason": f"{type(error).__name__}: {error}"})
    done.set()
    try:
        call(lease + outcome[0], fence | outcome[1])
    except RuntimeError as error:  # For example: the lease is lost, and another worker has it.
        print("the outcome was refused:", error, file=sys.stderr, flush=True)


def handle(payload):
    time.sleep(payload.get("seconds", 0))
    return {"sum": payload["a"] + payload["b"]}


while not stopping.is_set():
    wanted = {"instance": INSTANCE, "lanes": [LANE], "lease_ttl_ms": TTL_MS, "wait_ms": 5000}
    for task in call("/v1/workers/python/claims", wanted)["tasks"]:
        run(task, handle)
