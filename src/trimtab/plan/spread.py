"""How a number is spread over the calls: counts on a logarithmic grid, in one pass and a few kilobytes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import msgspec

from trimtab.trace import Call, EndState

# Bins a tenfold; a quantile is known to within one bin, 8 %.
PER_TENFOLD = 30
# What is drawn joins so many bins to one.
JOINED = 5


class Bin(msgspec.Struct, frozen=True):
    """`count` values in [`low`, `high`)."""

    low: float
    high: float
    count: int


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """`n` values in `unit`, of them `nought` not above 0 (and in no bin); quantiles are over all `n`, to within 8 %."""

    name: str
    unit: str
    n: int
    nought: int
    p50: float
    p90: float
    p99: float
    bins: tuple[Bin, ...]


class Spreads:
    """Latency, cost and tokens of every call added."""

    def __init__(self) -> None:
        self._held = {
            "latency": ("ms", Counter[int]()),
            "cost": ("US dollars", Counter[int]()),
            "input": ("tokens", Counter[int]()),
            "output": ("tokens", Counter[int]()),
        }
        self._counts = [counter for _, counter in self._held.values()]
        # Lengths and prices repeat: the logarithm is taken once.
        self._places: dict[float, int] = {}

    def add(self, call: Call) -> None:
        if call.end is not EndState.COMPLETE:
            return
        latency, cost, given, made = self._counts
        usage = call.usage
        latency[self._place(call.duration_ms)] += 1
        given[self._place(usage.input_tokens)] += 1
        made[self._place(usage.output_tokens)] += 1
        if call.cost_nanodollars is not None:
            cost[self._place(call.cost_nanodollars / 1e9)] += 1

    def result(self) -> tuple[Spread, ...]:
        """Those that have any value above 0."""
        made = (_spread(name, unit, counter) for name, (unit, counter) in self._held.items())
        return tuple(one for one in made if one.bins)

    def _place(self, value: float) -> int:
        place = self._places.get(value)
        if place is None:
            if len(self._places) > 50_000:
                self._places.clear()
            place = self._places[value] = _NOUGHT if value <= 0 else math.floor(math.log10(value) * PER_TENFOLD)
        return place


_NOUGHT = -(10**6)


def _spread(name: str, unit: str, counter: Counter[int]) -> Spread:
    n = counter.total()
    p50, p90, p99 = (_quantile(counter, n, at) for at in (0.5, 0.9, 0.99))
    nought = counter.get(_NOUGHT, 0)
    bins = tuple(_bins((place, times) for place, times in sorted(counter.items()) if place != _NOUGHT))
    return Spread(name=name, unit=unit, n=n, nought=nought, p50=p50, p90=p90, p99=p99, bins=bins)


def _quantile(counter: Counter[int], n: int, at: float) -> float:
    """The middle of the bin that holds it."""
    seen = 0
    for place, times in sorted(counter.items()):
        seen += times
        if seen >= at * n:
            return 0.0 if place == _NOUGHT else 10 ** ((place + 0.5) / PER_TENFOLD)
    return 0.0


def _bins(counts: Iterable[tuple[int, int]]) -> Iterable[Bin]:
    joined: Counter[int] = Counter()
    for place, times in counts:
        joined[place // JOINED] += times
    for place, times in sorted(joined.items()):
        low = 10 ** (place * JOINED / PER_TENFOLD)
        yield Bin(low, low * 10 ** (JOINED / PER_TENFOLD), times)
