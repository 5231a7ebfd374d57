"""The results: medians, ranges and ratios of all samples, and their table."""

import textwrap
from dataclasses import dataclass
from statistics import median
from typing import Any

from .systems import OURS

Results = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A figure: its title with its unit, and whether more of it is better."""

    title: str
    more_is_better: bool | None


FIGURES = {
    "drain_4k_per_s": Figure("drain, 4 KiB, tasks/s", True),
    "drain_empty_per_s": Figure("drain, empty, tasks/s", True),
    "submit_single_per_s": Figure("submit, one by one, tasks/s", True),
    "submit_pipelined_per_s": Figure("submit, pipelined, tasks/s", True),
    "submit_bulk_per_s": Figure("submit, bulk, tasks/s", True),
    "dispatch_p50_ms": Figure("dispatch when idle, p50, ms", False),
    "dispatch_p95_ms": Figure("dispatch when idle, p95, ms", False),
    "load_p50_ms": Figure("latency at half load, p50, ms", False),
    "load_p95_ms": Figure("latency at half load, p95, ms", False),
    "load_p99_ms": Figure("latency at half load, p99, ms", False),
    "load_per_s": Figure("half load, tasks/s", None),
    "cpu_4k_us": Figure("server CPU, 4 KiB, us/task", False),
    "cpu_empty_us": Figure("server CPU, empty, us/task", False),
    "memory_pending_bytes": Figure("memory, pending, B/task", False),
    "memory_completed_bytes": Figure("memory, completed, B/task", False),
    "aof_4k_bytes": Figure("AOF, 4 KiB, B/task", False),
    "idle_commands_per_s": Figure("idle, server commands/s", False),
    "idle_cpu_ms_per_s": Figure("idle, server CPU, ms/s", False),
}


def results(meta: dict[str, Any], samples: list[dict[str, Any]]) -> Results:
    """Returns the object that --json writes."""
    figures = {key: figure.__dict__ for key, figure in FIGURES.items()}
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for key in FIGURES:
        for system in meta["systems"]:
            values = [
                sample["figures"][key]
                for sample in samples
                if sample["system"] == system and key in sample["figures"]
            ]
            if values:
                summary.setdefault(key, {})[system] = {
                    "median": median(values),
                    "min": min(values),
                    "max": max(values),
                }
    ratios = {
        key: {
            ours: {
                peer: systems[ours]["median"] / systems[peer]["median"]
                for peer in systems
                if peer not in OURS and systems[peer]["median"] > 0
            }
            for ours in OURS
            if ours in systems
        }
        for key, systems in summary.items()
        if FIGURES[key].more_is_better is not None
    }
    return {
        "meta": meta,
        "figures": figures,
        "summary": summary,
        "ratios": ratios,
        "samples": samples,
    }


def short(value: float) -> str:
    """The number with three digits, or all digits before the point."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.1 else f"{value:.3g}"


def table(found: Results) -> str:
    """Returns the Markdown table, after a line about the run."""
    meta = found["meta"]
    ours = [name for name in OURS if name in meta["systems"]]
    ratios_of = [f"{name.removeprefix('ours-')}/it" for name in ours]
    head = ["figure", "system", "median", "range", *ratios_of]
    rows = []
    for key, systems in found["summary"].items():
        title = FIGURES[key].title
        for system, values in systems.items():
            span = f"{short(values['min'])} - {short(values['max'])}"
            ratios = [found["ratios"].get(key, {}).get(name, {}).get(system) for name in ours]
            cells = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
            rows.append([title, system, short(values["median"]), span, *cells])
            title = ""
    versions = ", ".join(f"{name} {version}" for name, version in meta["versions"].items())
    about = (
        f"{meta['tasks']:,} tasks, rounds: {meta['rounds']}, persistence: {meta['persistence']}, "
        f"processors: {meta['processors']}, {versions}"
    )
    return textwrap.fill(about, 100) + "\n\n" + markdown([head, *rows])


def markdown(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    # Numbers are aligned to the right, the figure and the system to the left.
    align = ["<", "<"] + [">"] * (len(widths) - 2)
    lines = []
    for row in rows:
        columns = zip(row, align, widths, strict=True)
        cells = (f"{cell:{side}{width}}" for cell, side, width in columns)
        lines.append(f"| {' | '.join(cells)} |")
    rule = (
        "-" * width if side == "<" else "-" * (width - 1) + ":"
        for side, width in zip(align, widths, strict=True)
    )
    lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)
