"""An SVG with a panel of bars for each of the main figures, legible in light and dark."""

from html import escape

from .report import FIGURES, Results, short
from .systems import OURS

PANELS = [
    "drain_4k_per_s",
    "submit_bulk_per_s",
    "cpu_4k_us",
    "memory_pending_bytes",
    "dispatch_p95_ms",
    "load_p99_ms",
]
COLUMNS = 2
PANEL_WIDTH, LABEL_WIDTH, VALUE_WIDTH = 440, 96, 70
BAR_HEIGHT, BAR_GAP, HEAD_HEIGHT, PANEL_GAP = 16, 8, 34, 22
STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; }
.note { font-size: 11px; fill: #57606a; }
.peer { fill: #8c959f; }
.ours { fill: #1a7f8c; }
.range { stroke: #24292f; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .note { fill: #9198a1; }
  .peer { fill: #6e7681; }
  .ours { fill: #39b5c4; }
  .range { stroke: #e6edf3; }
}
"""


def svg(results: Results) -> str:
    """Draws the medians as bars with their ranges. The background is transparent."""
    keys = [key for key in PANELS if key in results["summary"]]
    panels = [panel(results, key) for key in keys]
    rows = [panels[at:at + COLUMNS] for at in range(0, len(panels), COLUMNS)]
    parts: list[str] = []
    top = 0
    for row in rows:
        for column, (drawn, _) in enumerate(row):
            left = column * (PANEL_WIDTH + PANEL_GAP)
            parts.append(f'<g transform="translate({left},{top})">\n{drawn}\n</g>')
        top += max(height for _, height in row) + PANEL_GAP
    width = COLUMNS * PANEL_WIDTH + PANEL_GAP
    meta = results["meta"]
    note = (
        f"{meta['tasks']:,} tasks, medians and ranges of {meta['rounds']} interleaved rounds, "
        f"persistence: {meta['persistence']}"
    )
    parts.append(f'<text class="note" x="0" y="{top + 4}">{escape(note)}</text>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + 12}" role="img" '
        f'aria-label="{escape(note)}">\n<style>\n{STYLE}</style>\n{body}\n</svg>\n'
    )


def panel(results: Results, key: str) -> tuple[str, int]:
    """Draws the bars of a figure. Returns them with their height."""
    systems = results["summary"][key]
    longest = max(values["max"] for values in systems.values()) or 1.0
    scale = (PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH) / longest
    figure = FIGURES[key]
    better = "more is better" if figure.more_is_better else "less is better"
    parts = [
        f'<text class="title" x="0" y="14">{escape(figure.title)} '
        f'<tspan class="note">({better})</tspan></text>'
    ]
    for at, (system, values) in enumerate(systems.items()):
        top = HEAD_HEIGHT - 8 + at * (BAR_HEIGHT + BAR_GAP)
        middle, base = top + BAR_HEIGHT / 2, top + BAR_HEIGHT - 4
        # A negative median, of memory that a completion frees, has no bar.
        length = max(0.0, values["median"] * scale)
        low, high = (LABEL_WIDTH + max(0.0, values[end] * scale) for end in ("min", "max"))
        kind = "ours" if system in OURS else "peer"
        parts += [
            f'<text x="{LABEL_WIDTH - 8}" y="{base}" text-anchor="end">{escape(system)}</text>',
            f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{top}" width="{length:.1f}" '
            f'height="{BAR_HEIGHT}"/>',
            f'<path class="range" d="M{low:.1f} {middle}H{high:.1f}"/>',
            f'<text x="{high + 6:.1f}" y="{base}">{short(values["median"])}</text>',
        ]
    return "\n".join(parts), HEAD_HEIGHT + len(systems) * (BAR_HEIGHT + BAR_GAP)
