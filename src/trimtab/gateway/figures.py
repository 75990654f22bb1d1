"""Figures of a page of metrics, in Prometheus' text format: counters, gauges and the bins of a histogram."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator

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
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def lines(self, name: str, labels: Labels = ()) -> Iterator[str]:
        below = 0
        for bound, count in zip((*(f"{bound:.12g}" for bound in self.bounds), "+Inf"), self.counts, strict=True):
            below += count
            yield f"{name}_bucket{braces((*labels, ('le', bound)))} {below}"
        yield f"{name}_sum{braces(labels)} {self.total:.12g}"
        yield f"{name}_count{braces(labels)} {below}"


def braces(labels: Labels) -> str:
    quoted = (f'{name}="{_escaped(held)}"' for name, held in labels)
    return "{" + ",".join(quoted) + "}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
