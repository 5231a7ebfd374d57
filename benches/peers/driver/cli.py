"""The command line: runs all workloads on all systems in turn."""

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import BenchError, plot, report
from .systems import SYSTEMS, System, prepare, versions
from .workloads import WORKLOADS, Figures, Options

DESCRIPTION = """\
Measures FlowFabric and other job systems with the same workloads, each measurement on a fresh
private Valkey, the systems in turn in each round. Checks that each task ran exactly once. Prints
one table of medians, ranges and ratios.
"""
EPILOG = """\
systems: {systems}
workloads: {workloads}

The first run builds and installs the systems below this folder. README.md explains each figure.
"""
# The exit status of a program that Ctrl-C ended.
INTERRUPTED = 130


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return number


def names_of(known: list[str], what: str) -> Any:
    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                message = f"unknown {what} `{name}`: expected some of {', '.join(known)}"
                raise argparse.ArgumentTypeError(message)
        return names

    return parse


def parse(arguments: list[str] | None) -> argparse.Namespace:
    systems, workloads = [system.name for system in SYSTEMS], list(WORKLOADS)
    parser = argparse.ArgumentParser(
        prog="benches/peers/run",
        description=DESCRIPTION,
        epilog=EPILOG.format(systems=", ".join(systems), workloads=", ".join(workloads)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rounds", type=positive, default=5, metavar="N", help="rounds (default: 5)")
    add("--tasks", type=positive, default=10_000, metavar="N",
        help="tasks of a drain or a submission (default: 10000)")
    add("--only", action="extend", type=names_of(systems, "system"), metavar="SYSTEM[,SYSTEM...]",
        help="measure only these systems")
    add("--workloads", type=names_of(workloads, "workload"), metavar="NAME[,NAME...]",
        default=workloads, help="measure only these workloads")
    add("--aof", action="store_true",
        help="append-only file, synced every second (default: no persistence)")
    add("--json", type=Path, metavar="FILE", help="write all samples to this file")
    add("--plot", type=Path, metavar="FILE", help="write the main figures to this SVG file")
    add("--warm-up", type=int, default=500, metavar="N",
        help="tasks that run before each measurement (default: 500)")
    add("--dispatch-samples", type=positive, default=200, metavar="N",
        help="samples of workload dispatch (default: 200)")
    add("--load-seconds", type=seconds, default=5.0, metavar="S",
        help="duration of workload load (default: 5)")
    add("--idle-seconds", type=seconds, default=10.0, metavar="S",
        help="duration of workload idle (default: 10)")
    add("--timeout", type=seconds, default=120.0, metavar="S",
        help="time limit of each step of a measurement (default: 120)")
    add("--server", default="valkey-server", metavar="PROGRAM",
        help="the server program (default: valkey-server)")
    add("--prepare", action="store_true", help="only build and install the systems")
    add("--from-json", type=Path, metavar="FILE",
        help="measure nothing: print the table, and plot, from an earlier --json file")
    return parser.parse_args(arguments)


def status(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def measure(args: argparse.Namespace, systems: list[System]) -> list[dict[str, Any]]:
    """Takes all measurements. In each round another system goes first."""
    options = Options(
        server=args.server,
        aof=args.aof,
        tasks=args.tasks,
        warm_up=args.warm_up,
        dispatch_samples=args.dispatch_samples,
        load_seconds=args.load_seconds,
        idle_seconds=args.idle_seconds,
        timeout=args.timeout,
        warn=lambda message: status(f"warning: {message}"),
    )
    workloads = [name for name in WORKLOADS if name in args.workloads]
    total, number = args.rounds * len(workloads) * len(systems), 0
    samples: list[dict[str, Any]] = []
    began = time.monotonic()
    for turn in range(1, args.rounds + 1):
        first = (turn - 1) % len(systems)
        earlier: dict[str, Figures] = {system.name: {} for system in systems}
        for workload in workloads:
            for system in systems[first:] + systems[:first]:
                figures = WORKLOADS[workload](system, options, earlier[system.name])
                earlier[system.name] |= figures
                number += 1
                left = (time.monotonic() - began) / number * (total - number)
                shown = ", ".join(f"{key} {report.short(value)}" for key, value in figures.items())
                status(
                    f"[{number}/{total}, {left / 60:.0f} min left] round {turn} "
                    f"{workload} {system.name}: {shown}"
                )
                samples.append({
                    "round": turn, "workload": workload, "system": system.name, "figures": figures,
                })
    return samples


def describe_run(args: argparse.Namespace, systems: list[System]) -> dict[str, Any]:
    return {
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "versions": versions(args.server, systems),
        "rounds": args.rounds,
        "tasks": args.tasks,
        "warm_up": args.warm_up,
        "dispatch_samples": args.dispatch_samples,
        "load_seconds": args.load_seconds,
        "idle_seconds": args.idle_seconds,
        "persistence": "append-only file, synced every second" if args.aof else "none",
        "systems": {system.name: system.title for system in systems},
    }


def run(args: argparse.Namespace) -> None:
    for path in filter(None, [args.json, args.plot]):
        if not os.access(path.parent, os.W_OK) or path.is_dir():
            raise BenchError(f"cannot write `{path}`: name a file in an existing folder")
    if args.from_json:
        try:
            results = json.loads(args.from_json.read_text())
        except (OSError, ValueError) as error:
            raise BenchError(f"cannot read the results `{args.from_json}`: {error}") from None
    else:
        wanted = args.only or [system.name for system in SYSTEMS]
        systems = [system for system in SYSTEMS if system.name in wanted]
        if not shutil.which(args.server):
            raise BenchError(
                f"`{args.server}` is not on the PATH: install Valkey 8 (scripts/setup does it on "
                "Debian and Ubuntu), or name the program with --server"
            )
        prepare(systems)
        if args.prepare:
            return
        meta = describe_run(args, systems)
        if meta["load_before"] > 0.5:
            status(
                f"warning: the load average is {meta['load_before']:.1f}: other programs use the "
                "processors, and the figures suffer"
            )
        results = report.results(meta, measure(args, systems))
    if args.json:
        write(args.json, json.dumps(results, indent=1) + "\n")
    if args.plot:
        write(args.plot, plot.svg(results))
    print(report.table(results), flush=True)


def write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise BenchError(f"cannot write `{path}`: {error.strerror}") from None


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)

    def interrupt(*_: object) -> None:
        # A second signal must not stop the clean-up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        run(args)
    except BrokenPipeError:
        # The reader of the table has ended. Python must not fail again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except BenchError as error:
        status(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        status("interrupted: all servers and workers were stopped")
        return INTERRUPTED
    return 0
