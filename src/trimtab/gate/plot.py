"""Plot: the path of a test's wealth as an SVG, on a logarithmic scale, with the lines at which it decides."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trimtab.gate import bets
from trimtab.verdict import Finding, title

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 300, 56, 16, 36, 40
_COLOURS = {"promote": "#1a7f37", "reject": "#cf222e"}
_SPARKS = "▁▂▃▄▅▆▇█"


def svg(finding: Finding) -> str:
    """The wealth of both processes against the clusters fed; empty for a test that has no path in time."""
    paths = bets.paths(finding)
    if not paths:
        return ""
    needed = 1 / finding.counts["rule_alpha"]
    promote, reject = [[math.log10(max(w, 1e-9)) for w in path] for path in zip(*paths, strict=True)]
    low = max(-4.0, min(0.0, *promote, *reject))
    high = max(math.log10(needed) * 1.25, min(12.0, max(*promote, *reject)))
    n = len(paths)

    def x(at: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at / n

    def y(value: float) -> float:
        clipped = min(high, max(low, value))
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - clipped) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="20" font-size="13">{_escaped(title(finding))}: evidence after each cluster</text>',
    ]
    for tick in range(math.ceil(low), math.floor(high) + 1):
        label = f"{10.0**tick:g}"
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#eaeef2"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end" fill="#57606a">{label}</text>')
    level = y(math.log10(needed))
    parts.append(
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{level:.1f}" y2="{level:.1f}" stroke="#57606a" '
        f'stroke-dasharray="6 4"/><text x="{_WIDTH - _RIGHT}" y="{level - 5:.1f}" text-anchor="end" fill="#57606a">'
        f"decides at {needed:g}</text>"
    )
    for place, (name, path) in enumerate((("promote", promote), ("reject", reject))):
        points = " ".join(f"{x(at):.1f},{y(path[at - 1] if at else 0.0):.1f}" for at in _places(n))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{_COLOURS[name]}" stroke-width="1.8"/>')
        parts.append(f'<text x="{_LEFT + 8 + 90 * place}" y="{_HEIGHT - 8}" fill="{_COLOURS[name]}">to {name}</text>')
    parts.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end" fill="#57606a">clusters</text></svg>'
    )
    return "\n".join(parts) + "\n"


def _places(n: int, most: int = 600) -> list[int]:
    """Places from 0 to n, both among them, thinned to about `most`."""
    step = max(1, n // most)
    return sorted({*range(0, n + 1, step), n})


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def spark(values: Sequence[float], width: int = 40) -> str:
    """A line of blocks, for where no picture can be shown."""
    if not values:
        return ""
    width = min(width, len(values))
    thinned = [values[at * (len(values) - 1) // max(1, width - 1)] for at in range(width)]
    low, high = min(thinned), max(thinned)
    span = high - low or 1.0
    return "".join(_SPARKS[round((value - low) / span * (len(_SPARKS) - 1))] for value in thinned)
