"""The attribution as one picture: requests a second of each way to serve, by concurrency, on a logarithmic scale."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean
from xml.sax.saxutils import escape

from trimtab.bench.cells import CONCURRENCY, Cell, Setup, barred
from trimtab.bench.report import closed

WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 860, 190, 70, 58, 11, 12
COLOURS = {1: "#9ecae1", 4: "#4292c6", 16: "#084594"}


def svg(cells: Sequence[Cell], pair: str) -> str:
    """Bars of the geometric mean over blocks, whiskers from the slowest to the fastest block; empty without cells."""
    rates: dict[tuple[Setup, int], list[float]] = defaultdict(list)
    for cell in closed(cells, pair):
        rates[cell.setup, cell.concurrency].append(cell.rate)
    extra = [Setup(pair, "student", "int8", "lookup"), Setup(pair, "student", "bf16", "none", "off")]
    setups = [setup for setup in [*barred(pair), *extra] if any((setup, c) in rates for c in CONCURRENCY)]
    if not setups:
        return ""
    every = [rate for setup in setups for c in CONCURRENCY for rate in rates.get((setup, c), [])]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    high += high == low
    group = len(CONCURRENCY) * BAR + GAP
    height = TOP + len(setups) * group + 34

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(value) - low) / (high - low)

    parts = _frame(pair, height, [10.0**power for power in range(low, high + 1)], x)
    for at, setup in enumerate(setups):
        top = TOP + at * group
        parts.append(f'<text x="{LEFT - 8}" y="{top + group / 2}" text-anchor="end">{escape(setup.name)}</text>')
        for row, concurrency in enumerate(CONCURRENCY):
            found = rates.get((setup, concurrency))
            if found:
                parts += _bar(x, 10.0**low, found, top + row * BAR, COLOURS[concurrency])
    return "\n".join([*parts, "</svg>", ""])


def _frame(pair: str, height: int, ticks: Sequence[float], x: Callable[[float], float]) -> list[str]:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" font-size="13">Requests a second, end to end: the dealership, {pair} pair</text>',
    ]
    for at, concurrency in enumerate(CONCURRENCY):
        left = LEFT + at * 110
        parts.append(f'<rect x="{left}" y="28" width="10" height="10" fill="{COLOURS[concurrency]}"/>')
        parts.append(f'<text x="{left + 15}" y="37">{concurrency} at once</text>')
    for tick in ticks:
        up = f'x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP - 6}" y2="{height - 24}"'
        parts.append(f'<line {up} stroke="#dddddd"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{height - 10}" text-anchor="middle">{tick:g}</text>')
    return parts


def _bar(x: Callable[[float], float], least: float, found: Sequence[float], top: float, colour: str) -> list[str]:
    mean = math.exp(fmean(math.log(rate) for rate in found))
    left, right, middle = x(least), x(mean), top + BAR / 2 - 1
    return [
        f'<rect x="{left:.1f}" y="{top}" width="{max(0.0, right - left):.1f}" height="{BAR - 2}" fill="{colour}"/>',
        f'<line x1="{x(min(found)):.1f}" x2="{x(max(found)):.1f}" y1="{middle}" y2="{middle}" stroke="#000"/>',
        f'<text x="{x(max(found)) + 4:.1f}" y="{top + BAR - 2}" font-size="9">{mean:.3g}</text>',
    ]
