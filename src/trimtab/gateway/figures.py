"""Figures of a page of metrics, in Prometheus' text format: counters, gauges and the bins of a histogram."""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from itertools import accumulate
from operator import add

Labels = tuple[tuple[str, str], ...]


class Counter:
    """A sum per label set."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.sums: defaultdict[Labels, float] = defaultdict(float)

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        self.sums[labels] += amount

    def lines(self) -> list[str]:
        head = [f"# HELP {self.name} {self.text}", f"# TYPE {self.name} counter"]
        return head + [f"{self.name}{braces(labels)} {amount:.12g}" for labels, amount in self.sums.items()]


class Gauge:
    """A figure per label set, read when the page is."""

    def __init__(self, name: str, text: str, read: Callable[[], dict[Labels, float]]) -> None:
        self.name = name
        self.text = text
        self.read = read

    def lines(self) -> list[str]:
        head = [f"# HELP {self.name} {self.text}", f"# TYPE {self.name} gauge"]
        return head + [f"{self.name}{braces(labels)} {amount:.12g}" for labels, amount in self.read().items()]


class Bins:
    """A histogram's counts: one for each of the `bounds`, the most that it holds, and one for what is above them."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, other: Bins) -> None:
        self.counts = list(map(add, self.counts, other.counts))
        self.total += other.total

    def lines(self, name: str, labels: str = "") -> list[str]:
        """`labels` as `joined` gives them."""
        head = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
        made = [
            f"{head}{bound}{below}" for bound, below in zip(_written(self.bounds), accumulate(self.counts), strict=True)
        ]
        whole = f"{{{labels}}}" if labels else ""
        made += [f"{name}_sum{whole} {self.total:.12g}", f"{name}_count{whole} {sum(self.counts)}"]
        return made


@functools.lru_cache(maxsize=16)
def _written(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """The end of each bucket's line, up to its count."""
    return tuple(f'le="{bound}"}} ' for bound in (*(f"{bound:.12g}" for bound in bounds), "+Inf"))


def braces(labels: Labels) -> str:
    return f"{{{joined(labels)}}}" if labels else ""


def joined(labels: Labels) -> str:
    """Labels as they stand between braces."""
    return ",".join([f'{name}="{_escaped(held)}"' for name, held in labels])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
