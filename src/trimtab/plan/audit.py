"""Where money and seconds went: traces in, one frozen Audit out. Draws nothing.

The unit of time is the session: its critical path, cut into stages. Money is in nano-dollars, seconds are wall time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from trimtab.plan import spending, timeline, tools
from trimtab.plan.findings import Sampled, Shape, Traffic, Waste, Where
from trimtab.plan.spending import AgentUse, EndUse, Repeats, Saved, Spend, spend
from trimtab.plan.timeline import Exchange, Segment, Stage
from trimtab.plan.tools import Handoff, ToolUse
from trimtab.stats.intervals import wilson
from trimtab.stats.quantiles import quantile
from trimtab.trace import Trace

SUCCESS = "success"


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """`solved` of `scored` traces have a "success" score of at least one half; [`success_low`, `success_high`] is
    Wilson's 95 % interval. `per_solved` = cost of all scored traces / solved, a lower bound where a call is unpriced;
    None where none was solved or no price is known. `seconds` sums the
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


class StageUse(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of the critical path, in seconds per session; sessions without it count as 0."""

    stage: Stage
    share: float
    mean: float
    p50: float
    p90: float


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """Every table, largest first."""

    totals: Totals
    agents: tuple[AgentUse, ...]
    tools: tuple[ToolUse, ...]
    stages: tuple[StageUse, ...]
    repeats: Repeats
    saved: Saved
    failures: tuple[EndUse, ...]
    handoffs: tuple[Handoff, ...]
    sampled: Sampled = Sampled()
    where: Where = Where()
    traffic: tuple[Traffic, ...] = ()
    shape: Shape = Shape()
    waste: Waste = Waste()


def measure(traces: Iterable[Trace]) -> Audit:
    """The Audit of `traces`. Calls without recorded bodies count in money and time, not in tools and repeats."""
    known = list(traces)
    sessions = _sessions(known)
    paths = [list(timeline.segments(exchanges)) for exchanges in sessions.values()]
    exchanges = [one for session in sessions.values() for one in session]
    calls = [one.call for one in exchanges]
    return Audit(
        totals=_totals(known, exchanges, paths),
        agents=spending.agents(calls),
        tools=tools.uses(sessions, paths),
        stages=_stages(paths),
        repeats=spending.repeats(sessions),
        saved=spending.saved(calls),
        failures=spending.failures(calls),
        handoffs=tools.handoffs(exchanges),
    )


def _sessions(traces: Iterable[Trace]) -> dict[str, list[Exchange]]:
    """Exchanges by session, oldest first; a call without a session belongs to the one of its trace."""
    sessions: dict[str, list[Exchange]] = defaultdict(list)
    for trace in traces:
        for call in trace.calls:
            sessions[call.session or trace.id].append(timeline.exchange(call, trace.payloads.get(call.id)))
    for session in sessions.values():
        session.sort(key=lambda one: one.call.started_ns)
    return sessions


def _totals(traces: list[Trace], exchanges: list[Exchange], paths: list[list[Segment]]) -> Totals:
    scored = {trace.id: value for trace in traces if (value := _success(trace)) is not None}
    solved = sum(scored.values())
    cost = spend(call for trace in traces if trace.id in scored for call in trace.calls)
    interval = wilson(solved, len(scored))
    usages = [one.call.usage for one in exchanges]
    lengths = [sum(segment.seconds for segment in path) for path in paths]
    return Totals(
        traces=len(traces),
        sessions=len(paths),
        calls=len(exchanges),
        without_bodies=sum(one.payload is None for one in exchanges),
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cache_read_tokens=sum(usage.cache_read_tokens for usage in usages),
        spend=spend(one.call for one in exchanges),
        scored=len(scored),
        solved=solved,
        success=solved / len(scored) if scored else None,
        success_low=interval.low,
        success_high=interval.high,
        per_solved=None if not solved or cost.known is None else round(cost.known / solved),
        seconds=sum(lengths),
        session_p50=quantile(lengths, 0.5) or 0.0,
        session_p90=quantile(lengths, 0.9) or 0.0,
    )


def _success(trace: Trace) -> bool | None:
    """The trace's last word on success; None where it has none."""
    values = [score.value for score in trace.scores if score.name == SUCCESS]
    return values[-1] >= 0.5 if values else None


def _stages(paths: list[list[Segment]]) -> tuple[StageUse, ...]:
    """In the order of `Stage`, those that took any time."""
    per_session: list[dict[Stage, float]] = []
    for path in paths:
        spent: dict[Stage, float] = defaultdict(float)
        for segment in path:
            spent[segment.stage] += segment.seconds
        per_session.append(spent)
    total = sum(sum(spent.values()) for spent in per_session)
    rows = []
    for stage in Stage:
        values = [spent.get(stage, 0.0) for spent in per_session]
        if sum(values) > 0:
            rows.append(
                StageUse(
                    stage=stage,
                    share=sum(values) / total,
                    mean=sum(values) / len(values),
                    p50=quantile(values, 0.5) or 0.0,
                    p90=quantile(values, 0.9) or 0.0,
                )
            )
    return tuple(rows)
