"""The audit in one row: how much of everything, and what a solved task cost."""

from __future__ import annotations

import msgspec

from trimtab.plan import uses
from trimtab.plan.evidence import Evidence
from trimtab.plan.facts import UNKNOWN, Facts
from trimtab.plan.spending import Spend
from trimtab.stats.intervals import wilson
from trimtab.stats.quantiles import quantile
from trimtab.trace import Score

# Names of scores that say whether a task was solved; the first that a trace has is its outcome.
OUTCOMES = ("success", "solved", "resolved", "reward", "correct")


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """`solved` of `scored` traces have an outcome (a score named as in `OUTCOMES`) of at least one half;
    [`success_low`, `success_high`] is Wilson's 95 % interval. `per_solved` = cost of all scored traces / solved, a
    lower bound where a call is unpriced; None where none was solved or no price is known. `seconds` sums the
    sessions' critical paths; `session_p50` and `session_p90` are quantiles of their lengths in seconds."""

    traces: int
    sessions: int
    calls: int
    without_bodies: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    spend: Spend
    scored: int
    solved: int
    success: float | None
    success_low: float
    success_high: float
    per_solved: int | None
    seconds: float
    session_p50: float
    session_p90: float


def outcome(scores: tuple[Score, ...]) -> bool | None:
    """The trace's last word on success; None where it has none."""
    for name in OUTCOMES:
        values = [score.value for score in scores if score.name == name]
        if values:
            return values[-1] >= 0.5
    return None


def totals(evidence: Evidence, order: list[int] | range, without_bodies: int) -> Totals:
    facts, known = evidence.facts, evidence.solved
    solved = sum(known.values())
    costs = [facts.cost[row] for row in range(len(facts)) if facts.trace[row] in known]
    priced = [cost for cost in costs if cost != UNKNOWN]
    cost = Spend(sum(priced), len(priced), len(costs) - len(priced))
    interval = wilson(solved, len(known))
    lengths = _lengths(facts, order)
    return Totals(
        traces=len(set(facts.trace) | known.keys()),
        sessions=len(lengths),
        calls=len(facts),
        without_bodies=without_bodies,
        input_tokens=sum(facts.input),
        output_tokens=sum(facts.output),
        cache_read_tokens=sum(facts.read),
        spend=uses.spend(facts, range(len(facts))),
        scored=len(known),
        solved=solved,
        success=solved / len(known) if known else None,
        success_low=interval.low,
        success_high=interval.high,
        per_solved=None if not solved or cost.known is None else round(cost.known / solved),
        seconds=sum(lengths),
        session_p50=quantile(lengths, 0.5) or 0.0,
        session_p90=quantile(lengths, 0.9) or 0.0,
    )


def _lengths(facts: Facts, order: list[int] | range) -> list[float]:
    """Seconds from each session's first start to its last end."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for row in order:
        session, started = facts.session[row], facts.started[row]
        first.setdefault(session, started)
        end = started + max(0, round(facts.duration[row] * 1e6))
        if end > last.get(session, -(2**63)):
            last[session] = end
    return [(last[session] - began) / 1e9 for session, began in first.items()]
