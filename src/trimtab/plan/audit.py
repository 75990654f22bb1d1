"""Where money and seconds went: traces in, one frozen Audit out. Draws nothing.

The unit of time is the session: its critical path, cut into stages. Money is in nano-dollars, seconds are wall time.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from trimtab.money import PriceTable
from trimtab.plan import blocks, messages, parts, shape, spending, templates, timeline, tools, uses, waste
from trimtab.plan.evidence import Evidence, shown
from trimtab.plan.facts import Facts, number_of
from trimtab.plan.findings import Sampled, Shape, Traffic, Waste, Where
from trimtab.plan.sample import Limits, Sample
from trimtab.plan.spending import AgentUse, EndUse, Repeats, Saved
from trimtab.plan.timeline import Segment, Stage
from trimtab.plan.tools import Handoff, ToolUse
from trimtab.plan.totals import Totals, outcome, totals
from trimtab.stats.quantiles import quantile
from trimtab.trace import Call, EncodedPayload, Payload, Record, Score, Trace

__all__ = ["Audit", "Auditor", "Limits", "StageUse", "Totals", "measure"]


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


class Auditor:
    """Calls in, one at a time; then one Audit. Counts every call in about 200 bytes; bodies are kept of the sessions of
    a sample alone, which `seed` and the names of the sessions choose. Nothing here reads a clock or draws at random."""

    def __init__(self, prices: PriceTable | None = None, *, seed: int = 0, limits: Limits | None = None) -> None:
        self._prices, self._seed = prices, seed
        self._facts, self._sample = Facts(), Sample(seed, limits or Limits())
        self._hits, self._stack = spending.Hits(), blocks.Stack()
        self._scores: dict[str, tuple[Score, ...]] = {}
        self._without_bodies = 0
        self._last: dict[str, int] = {}

    def add(self, record: Record, scores: tuple[Score, ...] = ()) -> None:
        """One call, with the scores of its trace that came with it."""
        call, payload = record.call, record.payload
        session = self._number(call.session or call.trace_id)
        trace = session if not call.session else self._number(call.trace_id)
        digest = 0
        if payload is None:
            self._without_bodies += 1
        else:
            digest = _digest(payload)
            if not digest and (ids := messages.block_ids(payload.request)) is not None:
                self._stack.add(ids)
        self._facts.add(call, session, trace, digest)
        self._hits.add(call)
        if scores:
            self.score(call.trace_id, scores)
        self._sample.add(session, call, payload)

    def score(self, trace_id: str, scores: tuple[Score, ...]) -> None:
        """Scores of a trace; those that came before stay before them."""
        known = self._scores.get(trace_id, ())
        self._scores[trace_id] = known if known == scores else known + scores

    def _number(self, name: str) -> int:
        """`number_of`, remembered for the names just seen: calls of one session mostly come together."""
        number = self._last.get(name)
        if number is None:
            if len(self._last) >= 4096:
                self._last.clear()
            number = self._last[name] = number_of(name, self._seed)
        return number

    def traces(self) -> Iterator[Trace]:
        """The traces of the sample, bodies decoded; a large log's are a share of it (`Audit.sampled.share`)."""
        return self._sample.traces(self._scores)

    def by_agent(self) -> dict[tuple[str, str], tuple[Trace, ...]]:
        """The sample's traces by (workflow, agent), each with the calls of that agent alone."""
        found: dict[tuple[str, str], list[Trace]] = defaultdict(list)
        for trace in self.traces():
            parts: dict[tuple[str, str], list[Call]] = defaultdict(list)
            for call in trace.calls:
                parts[shown(call.workflow), shown(call.agent)].append(call)
            for name, calls in parts.items():
                payloads = {call.id: trace.payloads[call.id] for call in calls if call.id in trace.payloads}
                found[name].append(Trace(trace.id, tuple(calls), payloads, trace.scores))
        return {name: tuple(its) for name, its in found.items()}

    def result(self) -> Audit:
        """Everything found so far; more may be added after it."""
        facts, sessions = self._facts, list(self._sample.sessions())
        solved = {
            number_of(name, self._seed): value
            for name, scores in self._scores.items()
            if (value := outcome(scores)) is not None
        }
        evidence = Evidence(facts, sessions, solved, self._prices, self._seed)
        order = facts.by_time()
        again, across = uses.repeats(facts, order)
        paths = [list(timeline.segments(session.exchanges)) for session in sessions]
        named = {str(session.key): session.exchanges for session in sessions}
        return Audit(
            totals=totals(evidence, order, self._without_bodies),
            agents=uses.agents(facts),
            tools=tools.uses(named, paths),
            stages=_stages(paths),
            repeats=Repeats(len(again), across, uses.spend(facts, array("q", again))),
            saved=self._hits.saved(),
            failures=uses.failures(facts),
            handoffs=tools.handoffs(one for session in sessions for one in session.exchanges),
            sampled=self._sample.described(),
            where=Where(
                workflows=uses.by_workflow(facts),
                agents=uses.by_agent(facts),
                models=uses.by_model(facts),
                templates=templates.mined(evidence),
                parts=parts.uses(evidence),
                lost=uses.lost(facts, order),
            ),
            traffic=uses.traffic(facts),
            shape=shape.found(evidence),
            waste=waste.found(evidence, again, self._stack.measured(512)),
        )


def measure(traces: Iterable[Trace]) -> Audit:
    """The Audit of `traces`, all of them kept. Calls without recorded bodies count in money and time alone."""
    auditor = Auditor(limits=Limits(None, None))
    for trace in traces:
        for call in trace.calls:
            own = call if call.trace_id == trace.id else msgspec.structs.replace(call, trace_id=trace.id)
            auditor.add(Record(own, trace.payloads.get(call.id)))
        if trace.scores:
            auditor.score(trace.id, trace.scores)
    return auditor.result()


def _digest(payload: Payload | EncodedPayload) -> int:
    try:
        return messages.digest(payload.request)
    except (UnicodeError, RecursionError, OverflowError, TypeError, ValueError):
        return 0


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
