"""What the findings are made from, and how a Figure is made from clusters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from trimtab.money import PriceTable
from trimtab.plan.facts import Facts, masked, number_of
from trimtab.plan.findings import Figure
from trimtab.plan.sample import Session
from trimtab.plan.spending import Spend
from trimtab.plan.timeline import Exchange
from trimtab.stats.ratios import Ratio, ratio, share
from trimtab.trace import Call

SHOWN = 5
GROUPS = 64
_EVERY = "all calls; sessions in 64 random groups"
_SAMPLE = "sampled sessions, one cluster each"


class Evidence(NamedTuple):
    """`facts`: every call. `sessions`: those of the sample. `solved`: by the number of a trace's name, where scored."""

    facts: Facts
    sessions: list[Session]
    solved: Mapping[int, bool]
    prices: PriceTable | None = None
    seed: int = 0

    def workflows(self) -> dict[str, list[Session]]:
        """The sample's sessions by workflow: a session belongs to that of its first call."""
        found: dict[str, list[Session]] = defaultdict(list)
        for session in self.sessions:
            found[shown(session.exchanges[0].call.workflow)].append(session)
        return found

    def agents(self) -> dict[tuple[str, str], list[tuple[int, Exchange]]]:
        """The sample's exchanges by (workflow, agent), each with its session's key."""
        found: dict[tuple[str, str], list[tuple[int, Exchange]]] = defaultdict(list)
        for session in self.sessions:
            for one in session.exchanges:
                found[shown(one.call.workflow), shown(one.call.agent)].append((session.key, one))
        return found


_SHOWN: dict[str, str] = {}


def shown(name: str) -> str:
    """A name as it may be shown; remembered, for there are few."""
    if name not in _SHOWN:
        if len(_SHOWN) > 10_000:
            _SHOWN.clear()
        _SHOWN[name] = masked(name)
    return _SHOWN[name]


def tasks(sessions: Iterable[Session], seed: int = 0) -> Iterator[tuple[int, int, list[Exchange]]]:
    """(number of the trace, key of its session, its exchanges), a task each."""
    for session in sessions:
        by_trace: dict[str, list[Exchange]] = {}
        for one in session.exchanges:
            by_trace.setdefault(one.call.trace_id, []).append(one)
        for name, exchanges in by_trace.items():
            yield number_of(name, seed), session.key, exchanges


class Clusters:
    """(y, x) sums by cluster, as they come."""

    def __init__(self) -> None:
        self._sums: dict[int, list[float]] = {}

    def add(self, cluster: int, y: float, x: float = 1.0) -> None:
        sums = self._sums.setdefault(cluster, [0.0, 0.0])
        sums[0] += y
        sums[1] += x

    def scale(self, by: float) -> None:
        self._sums = {cluster: [y * by, x * by] for cluster, (y, x) in self._sums.items()}

    def pairs(self) -> list[tuple[float, float]]:
        return [(y, x) for y, x in self._sums.values()]


def mean_figure(clusters: Clusters, n: int, unit: str, method: str = _SAMPLE, look: Iterable[str] = ()) -> Figure:
    return _figure(ratio(clusters.pairs()), n, unit, method, look)


def share_figure(clusters: Clusters, n: int, unit: str, method: str = _SAMPLE, look: Iterable[str] = ()) -> Figure:
    return _figure(share(clusters.pairs()), n, unit, method, look)


def every_mean(clusters: Clusters, n: int, look: Iterable[str] = ()) -> Figure:
    """Of all calls, not of the sample's: give groups of sessions as clusters."""
    return _figure(ratio(clusters.pairs()), n, "calls", _EVERY, look)


def every_share(clusters: Clusters, n: int, look: Iterable[str] = ()) -> Figure:
    return _figure(share(clusters.pairs()), n, "calls", _EVERY, look)


def _figure(of: Ratio, n: int, unit: str, method: str, look: Iterable[str]) -> Figure:
    ids = tuple(name for name, _ in zip(dict.fromkeys(look), range(SHOWN), strict=False))
    name = f"ratio of sums; {method}; {of.n} clusters, 95 %"
    return Figure(value=of.value, low=of.low, high=of.high, n=n, unit_of_n=unit, method=name, look_at=ids)


def spend_of(calls: Iterable[Call]) -> Spend:
    costs = [call.cost_nanodollars for call in calls]
    known = [cost for cost in costs if cost is not None]
    return Spend(sum(known), len(known), len(costs) - len(known))


def dearest(calls: Iterable[Call]) -> list[str]:
    """Ids of the calls, the dearest first, then the longest."""
    ranked = sorted(calls, key=lambda call: (-(call.cost_nanodollars or 0), -call.usage.output_tokens))
    return [call.id for call in ranked[:SHOWN]]
