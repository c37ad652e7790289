"""Bar charts as SVG: readable in light and in dark, and without colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from worchflow.bench.report import number

WIDTH, LABEL, VALUE = 760, 270, 130
ROW, BAR, TOP = 26, 16, 44
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; font-size: 15px; }
.quiet { fill: #59636e; }
.worchflow { fill: #0969da; }
.bare { fill: none; stroke: #59636e; stroke-dasharray: 4 3; }
.durable { fill: #8250df; }
.queue { fill: #afb8c1; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .quiet { fill: #9198a1; }
  .worchflow { fill: #4493f8; }
  .bare { stroke: #9198a1; }
  .durable { fill: #ab7df8; }
  .queue { fill: #656c76; }
}
"""
KINDS = {
    "worchflow": "Worchflow",
    "bare": "bare writes of the same store",
    "durable": "durable peer",
    "queue": "queue, nothing durable",
}


@dataclass(frozen=True)
class Bar:
    """One row of a chart; `kind` is that of the system."""

    label: str
    kind: str
    value: float


def bar_chart(title: str, unit: str, bars: Sequence[Bar]) -> str:
    """Horizontal bars in the given order, each with its figure, and a legend."""
    longest = max((bar.value for bar in bars), default=0) or 1
    kinds = [kind for kind in KINDS if any(bar.kind == kind for bar in bars)]
    height = TOP + ROW * len(bars) + 36
    body = [f'<text class="title" x="8" y="22">{escape(title)}, {escape(unit)}</text>']
    for row, bar in enumerate(bars):
        body += _row(TOP + ROW * row, bar, longest)
    body += _legend(height - 14, kinds)
    told = ", ".join(f"{bar.label} {number(bar.value)}" for bar in bars)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(f'{unit}: {told}')}</desc>",
            f"<style>{STYLE}</style>",
            *body,
            "</svg>\n",
        ]
    )


def _row(y: int, bar: Bar, longest: float) -> list[str]:
    length = (WIDTH - LABEL - VALUE) * bar.value / longest
    middle, end = y + BAR - 3, f"{LABEL + length + 8:.1f}"
    size = f'x="{LABEL}" y="{y}" width="{max(length, 1):.1f}" height="{BAR}"'
    label = escape(bar.label)
    return [
        f'<text x="{LABEL - 10}" y="{middle}" text-anchor="end">{label}</text>',
        f'<rect class="{bar.kind}" {size} rx="2"/>',
        f'<text x="{end}" y="{middle}">{number(bar.value)}</text>',
    ]


def _legend(y: int, kinds: Sequence[str]) -> list[str]:
    drawn: list[str] = []
    x = 8
    for kind in kinds:
        place = f'x="{x}" y="{y - 10}" width="12" height="12"'
        drawn += [
            f'<rect class="{kind}" {place} rx="2"/>',
            f'<text class="quiet" x="{x + 18}" y="{y}">{escape(KINDS[kind])}</text>',
        ]
        x += 40 + 7 * len(KINDS[kind])
    return drawn
