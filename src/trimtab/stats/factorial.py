"""A factorial experiment in blocks: main effects and interactions of factors on the logarithm of what was measured.

Knows no engines: each row names its block, its levels and a positive value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from statistics import fmean, stdev

import msgspec

# Student's t, two-sided 95 %, by degrees of freedom; beyond the table the normal quantile's neighbourhood.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


class Row(msgspec.Struct, frozen=True):
    """One cell of one block."""

    block: int
    levels: dict[str, str]
    value: float


class Effect(msgspec.Struct, frozen=True):
    """By what `value` is multiplied, with its 95 % interval over `blocks` (none of width where there is one alone).
    `cells` pairs went into each block's mean."""

    name: str
    factor: float
    low: float
    high: float
    blocks: int
    cells: int


def t95(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t; ValueError for no degree of freedom."""
    if freedom < 1:
        raise ValueError("one block alone has no spread: measure at least two")
    return _T95[freedom - 1] if freedom <= len(_T95) else 1.96 + 2.5 / freedom


def ratio(name: str, logs: Sequence[float], cells: int) -> Effect:
    """The geometric mean of ratios given as logarithms, one a block, with Student's interval."""
    if not logs:
        raise ValueError(f"nothing was measured for '{name}'")
    centre = fmean(logs)
    half = t95(len(logs) - 1) * stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else 0.0
    return Effect(name, math.exp(centre), math.exp(centre - half), math.exp(centre + half), len(logs), cells)


def main_effect(rows: Sequence[Row], factor: str, base: str, level: str) -> Effect:
    """`level` against `base` of `factor`, averaged over all settings of the others that have both, block by block."""
    return _contrast(rows, f"{factor}: {level} / {base}", {factor: (base, level)})


def interaction(rows: Sequence[Row], first: tuple[str, str, str], second: tuple[str, str, str]) -> Effect:
    """By how much the gain of one change is multiplied by the other: 1 where they do not touch each other.

    Each of the two is (factor, base, level). The contrast y(1,1) − y(1,0) − y(0,1) + y(0,0) of the logarithms.
    """
    name = f"{first[2]} with {second[2]}"
    return _contrast(rows, name, {first[0]: first[1:], second[0]: second[1:]})


def _contrast(rows: Sequence[Row], name: str, changes: Mapping[str, tuple[str, str]]) -> Effect:
    table: dict[int, dict[tuple[tuple[str, str], ...], dict[tuple[str, ...], float]]] = {}
    for row in rows:
        rest = tuple(sorted((key, level) for key, level in row.levels.items() if key not in changes))
        own = tuple(row.levels[key] for key in changes)
        table.setdefault(row.block, {}).setdefault(rest, {})[own] = math.log(row.value)
    corners = [(own, sum(level == pair[0] for level, pair in zip(own, changes.values(), strict=True)))
               for own in product(*changes.values())]  # fmt: skip
    logs, cells = [], 0
    for held in table.values():
        whole = [found for found in held.values() if all(own in found for own, _ in corners)]
        if whole:
            logs.append(fmean(sum((-1) ** lower * found[own] for own, lower in corners) for found in whole))
            cells = len(whole)
    return ratio(name, logs, cells)
