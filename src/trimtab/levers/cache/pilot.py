"""The pilot: recorded calls played through the cache as it serves, cold start and exploration counted.

A label is used only where a call would have gone upstream; that hits are right is judged by the recorded answers.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab.levers.cache.asking import Asked
from trimtab.levers.cache.kept import Kept
from trimtab.levers.cache.options import Options
from trimtab.levers.cache.recorded import Recorded
from trimtab.levers.cache.tiers import Found, Tiers
from trimtab.money import PriceTable
from trimtab.stats.intervals import Interval, clopper_pearson

_RESAMPLES = 1000
_WORST = 20


class Played(msgspec.Struct, frozen=True):
    """What became of one call: `tier` of its hit, '' for none; `wrong` where the recorded answer was another one."""

    cluster: str
    workflow: str
    agent: str
    nanodollars: int
    ms: float
    eligible: bool
    tier: str = ""
    wrong: bool = False


class Doubt(msgspec.Struct, frozen=True):
    """A question and its nearest one, whose answers differ: what would have been a wrong hit at a lower threshold."""

    served: bool
    score: float
    asked: str
    held: str
    answer: str
    held_answer: str


class Pilot(msgspec.Struct):
    """All that was played; `passed` counts calls by why the cache did not look, `policies` what the routes learned."""

    played: list[Played]
    doubts: list[Doubt]
    passed: Counter[str]
    groups: int = 0
    state: bytes | None = None
    encoder: str = ""
    why: str = ""


def play(calls: Sequence[Recorded], options: Options, prices: PriceTable | None, *, one_route: bool = False) -> Pilot:
    """Play `calls` in order; with `one_route` all teach the same policy, whose state is given."""
    now = [0]
    pilot = Pilot([], [], Counter())
    with tempfile.TemporaryDirectory(prefix="trimtab-cache-") as folder:
        tiers = Tiers(options, Path(folder), clock=lambda: now[0])
        tiers.open()
        pilot.why = tiers.broken
        for each in calls:
            now[0] = each.call.started_ns
            route = "" if one_route else f"{each.call.workflow}\0{each.call.agent}"
            pilot.played.append(_played(each, tiers, route, prices, pilot))
        pilot.groups = tiers.answers()
        if tiers.semantic is not None:
            pilot.encoder = tiers.semantic.encoder.version
            if one_route:
                pilot.state = _portable(tiers)
        tiers.close()
    pilot.doubts.sort(key=lambda doubt: (-doubt.served, -doubt.score))
    del pilot.doubts[_WORST:]
    return pilot


def _portable(tiers: Tiers) -> bytes | None:
    """What the one route learned, its groups numbered so that no row of another store is taken for one of them."""
    route = tiers.semantic.routes.all().get("") if tiers.semantic is not None else None
    if route is None:
        return None
    route.policy.slots = {-1 - group: slot for group, slot in route.policy.slots.items()}
    return route.policy.state()


def _played(each: Recorded, tiers: Tiers, route: str, prices: PriceTable | None, pilot: Pilot) -> Played:
    call = each.call
    cost = prices.cost(call.priced_as or call.response_model, call.usage) if prices is not None else None
    nanodollars = cost.nanodollars if cost is not None else call.cost_nanodollars or 0
    told = Played(call.session or call.trace_id, call.workflow, call.agent, nanodollars, call.duration_ms, False)
    if isinstance(each.asked, str):
        pilot.passed[each.asked] += 1
        return told
    told = msgspec.structs.replace(told, eligible=True)
    found = tiers.find(each.asked, route)
    hit = found.held is not None and not found.explored
    if each.answer is not None and (doubt := _doubt(each.asked, found, tiers, each.answer)) is not None:
        pilot.doubts.append(doubt)
    if not hit:
        if each.answer is not None:
            tiers.keep(each.asked, found, each.answer, True)
        return told
    wrong = each.answer is None or tiers.same(each.answer, found.held) is False
    return msgspec.structs.replace(told, tier=found.tier, wrong=wrong)


def _doubt(asked: Asked, found: Found, tiers: Tiers, answer: Kept) -> Doubt | None:
    """What the call would have got, or nearly, where that is not what it got."""
    held = found.held or tiers.nearest(found)
    if held is None or tiers.same(answer, held) is not False:
        return None
    near, said = found.near, asked.question.text
    served = found.held is not None and not found.explored
    score, question = (near.choice.score, near.questions[0]) if near and near.questions else (1.0, said)
    return Doubt(served, score, said, question, _brief(answer), _brief(held))


def _brief(answer: Kept) -> str:
    said = answer.text or "; ".join(f"{name} {given}" for name, given in answer.calls)
    return " ".join(said.split())[:160]


def share(played: Sequence[Played], part: str, whole: str, seed: int = 0) -> tuple[float, Interval]:
    """Σ part / Σ whole of `played` with its 95 % interval: the percentile bootstrap over sessions, seeded."""
    by_cluster: dict[str, tuple[float, float]] = {}
    for each in played:
        above, below = by_cluster.get(each.cluster, (0.0, 0.0))
        by_cluster[each.cluster] = above + amount(each, part), below + amount(each, whole)
    pairs = list(by_cluster.values())
    chance = random.Random(seed)
    drawn = sorted(_ratio(chance.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES)) if pairs else [0.0]
    place = len(drawn) // 40
    return _ratio(pairs), Interval(drawn[place], drawn[-1 - place])


def amount(each: Played, what: str) -> float:
    """A figure of one call by its name."""
    hit = float(bool(each.tier))
    return {
        "calls": 1.0,
        "eligible": float(each.eligible),
        "hits": hit,
        "exact": float(each.tier == "exact"),
        "wrong": float(each.wrong),
        "cost": float(each.nanodollars),
        "saved": hit * each.nanodollars,
        "ms": each.ms,
        "saved_ms": hit * each.ms,
    }[what]


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    below = sum(pair[1] for pair in pairs)
    return sum(pair[0] for pair in pairs) / below if below else 0.0


def rows(pilot: Pilot) -> list[dict[str, Any]]:
    """One line for each workflow and agent, dearest first, and before them one for all."""
    groups: dict[tuple[str, str], list[Played]] = {}
    for each in pilot.played:
        groups.setdefault((each.workflow, each.agent), []).append(each)
    dearest = sorted(groups, key=lambda name: -sum(each.nanodollars for each in groups[name]))
    named = [(("all", ""), pilot.played), *((name, groups[name]) for name in dearest)]
    return [_row(name, some) for name, some in named]


def _row(name: tuple[str, str], some: Sequence[Played]) -> dict[str, Any]:
    sums = {what: sum(amount(each, what) for each in some) for what in ("eligible", "hits", "exact", "wrong", "saved")}
    rate, its = share(some, "hits", "calls")
    most = clopper_pearson(int(sums["wrong"]), int(sums["hits"])).high
    return {
        "workflow": name[0],
        "agent": name[1],
        "calls": len(some),
        "eligible": f"{sums['eligible'] / max(1, len(some)):.0%}",
        "exact": f"{sums['exact'] / max(1, len(some)):.1%}",
        "hits": f"{rate:.1%} [{its.low:.1%}, {its.high:.1%}]",
        "wrong": f"{int(sums['wrong'])} of {int(sums['hits'])} (at most {most:.1%})" if sums["hits"] else "none",
        "saved": f"${sums['saved'] / 1e9:.4f}",
        "waiting saved": f"{sum(amount(each, 'saved_ms') for each in some) / 1e3:.1f} s",
    }
