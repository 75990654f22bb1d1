"""Where money, tokens and time went over all calls: by workflow, agent and model; lost money; traffic; cut outputs."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator
from itertools import pairwise

from trimtab.plan.evidence import GROUPS, SHOWN, Clusters, every_mean, every_share
from trimtab.plan.facts import UNKNOWN, Facts
from trimtab.plan.findings import Figure, Leak, Lost, Traffic, Use
from trimtab.plan.spending import AgentUse, EndUse, Spend
from trimtab.stats.quantiles import quantile
from trimtab.trace import EndState

# Two calls this close, the first of which failed, are one question asked again.
RETRY_NS = 600 * 10**9
_MINUTE = 60 * 10**9


def spend(facts: Facts, rows: array[int] | range) -> Spend:
    costs = [cost for row in rows if (cost := facts.cost[row]) != UNKNOWN]
    return Spend(sum(costs), len(costs), len(rows) - len(costs))


def by_workflow(facts: Facts) -> tuple[Use, ...]:
    return _uses(facts, facts.rows_by(lambda kind: (kind.workflow, "")))


def by_agent(facts: Facts) -> tuple[Use, ...]:
    return _uses(facts, facts.rows_by(lambda kind: (kind.agent, kind.workflow)))


def by_model(facts: Facts) -> tuple[Use, ...]:
    return _uses(facts, facts.rows_by(lambda kind: (kind.model, "")))


def _uses(facts: Facts, groups: Iterator[tuple[tuple[str, ...], array[int]]]) -> tuple[Use, ...]:
    total = spend(facts, range(len(facts))).nanodollars
    rows = [_use(facts, name, its, total) for name, its in groups]
    return tuple(sorted(rows, key=lambda row: (-row.spend.nanodollars, -row.calls, row.name, row.workflow)))


def _use(facts: Facts, name: tuple[str, ...], rows: array[int], total: int) -> Use:
    cost = spend(facts, rows)
    complete = _complete(facts, rows)
    latencies = sorted(facts.duration[row] for row in complete)
    firsts = sorted(ttft for row in complete if (ttft := facts.ttft[row]) >= 0)
    dear = look_at(facts, rows)
    per_call = Clusters()
    for row in rows:
        if facts.cost[row] != UNKNOWN:
            per_call.add(facts.session[row] % GROUPS, facts.cost[row])
    return Use(
        name=name[0],
        workflow=name[1],
        calls=len(rows),
        failed=len(rows) - len(complete),
        spend=cost,
        share=cost.nanodollars / total if total else None,
        per_call=every_mean(per_call, cost.priced, dear),
        input_tokens=sum(facts.input[row] for row in rows),
        output_tokens=sum(facts.output[row] for row in rows),
        cache_read_tokens=sum(facts.read[row] for row in rows),
        reasoning_tokens=sum(facts.reasoning[row] for row in rows),
        latency_p50_ms=quantile(latencies, 0.5),
        latency_p90_ms=quantile(latencies, 0.9),
        latency_p99_ms=quantile(latencies, 0.99),
        ttft_p50_ms=quantile(firsts, 0.5),
        ttft_p90_ms=quantile(firsts, 0.9),
        look_at=dear,
    )


def look_at(facts: Facts, rows: array[int] | list[int]) -> tuple[str, ...]:
    """The dearest calls; where none is priced the longest."""
    best = heapq.nlargest(SHOWN, rows, key=lambda row: (facts.cost[row], facts.input[row] + facts.output[row]))
    return facts.ids(best)


def _complete(facts: Facts, rows: array[int]) -> list[int]:
    good = [kind.end is EndState.COMPLETE for kind in facts.kinds]
    return [row for row in rows if good[facts.kind[row]]]


def agents(facts: Facts) -> tuple[AgentUse, ...]:
    """Agents whatever their workflow."""
    total = spend(facts, range(len(facts))).nanodollars
    rows = []
    for (agent,), its in facts.rows_by(lambda kind: (kind.agent,)):
        cost, complete = spend(facts, its), _complete(facts, its)
        latencies = sorted(facts.duration[row] for row in complete)
        use = AgentUse(
            agent=agent,
            calls=len(its),
            spend=cost,
            share=cost.nanodollars / total if total else None,
            input_tokens=sum(facts.input[row] for row in its),
            output_tokens=sum(facts.output[row] for row in its),
            cache_read_tokens=sum(facts.read[row] for row in its),
            model_seconds=sum(max(0.0, facts.duration[row]) for row in its) / 1000,
            ttft_p50_ms=quantile([ttft for row in complete if (ttft := facts.ttft[row]) >= 0], 0.5),
            latency_p50_ms=quantile(latencies, 0.5),
            latency_p90_ms=quantile(latencies, 0.9),
        )
        rows.append(use)
    return tuple(sorted(rows, key=lambda row: (-row.spend.nanodollars, -row.calls, row.agent)))


def failures(facts: Facts) -> tuple[EndUse, ...]:
    rows = [EndUse(EndState(end), len(its), spend(facts, its)) for end, its in _ends(facts)]
    return tuple(sorted(rows, key=lambda row: (-row.calls, row.end)))


def _ends(facts: Facts) -> Iterator[tuple[str, array[int]]]:
    for (end,), its in facts.rows_by(lambda kind: None if kind.end is EndState.COMPLETE else (kind.end.value,)):
        yield end, its


def lost(facts: Facts, order: list[int] | range) -> tuple[Lost, ...]:
    """Failed and cut calls by how they ended, and retries of them."""
    found = [
        _lost(facts, "cut stream" if end == EndState.CUT else "failed", EndState(end), its) for end, its in _ends(facts)
    ]
    if again := _retries(facts, order):
        found.append(_lost(facts, "retry", None, array("q", again)))
    return tuple(sorted(found, key=lambda row: (-row.spend.nanodollars, row.kind)))


def _lost(facts: Facts, kind: str, end: EndState | None, rows: array[int]) -> Lost:
    return Lost(kind=kind, end=end, spend=spend(facts, rows), share=share_of_calls(facts, rows))


def share_of_calls(facts: Facts, rows: array[int] | list[int], among: array[int] | range | None = None) -> Figure:
    """Those of `rows` among all calls (or among `among`)."""
    every = range(len(facts)) if among is None else among
    clusters, session = Clusters(), facts.session
    for row in every:
        clusters.add(session[row] % GROUPS, 0.0)
    for row in rows:
        clusters.add(session[row] % GROUPS, 1.0, 0.0)
    return every_share(clusters, len(every), look_at(facts, rows))


def _retries(facts: Facts, order: list[int] | range) -> list[int]:
    """Calls like one that had failed in the session in the ten minutes before: the same body, or, where bodies are not
    known, the same agent and model with as many input tokens."""
    failed: dict[tuple[int, ...], int] = {}
    found = []
    bad = [kind.end is not EndState.COMPLETE for kind in facts.kinds]
    who = [hash((kind.workflow, kind.agent, kind.model)) for kind in facts.kinds]
    if not any(bad):
        return []
    for row in order:
        kind, digest = facts.kind[row], facts.digest[row]
        # A failed call was often not counted, so tokens tell only where there are some.
        key = (facts.session[row], digest, 0) if digest else (facts.session[row], who[kind], facts.input[row])
        before = failed.get(key)
        if before is not None and 0 <= facts.started[row] - before <= RETRY_NS and (digest or facts.input[row]):
            found.append(row)
        if bad[kind]:
            failed[key] = facts.started[row]
        else:
            failed.pop(key, None)
    return found


def repeats(facts: Facts, order: list[int] | range) -> tuple[list[int], int]:
    """Rows of complete calls whose request was answered before, and how many of them first in another session."""
    complete = [kind.end is EndState.COMPLETE for kind in facts.kinds]
    first: dict[int, int] = {}
    rows, across = [], 0
    for row in order:
        digest = facts.digest[row]
        if digest and complete[facts.kind[row]]:
            session = first.setdefault(digest, row)
            if session != row:
                rows.append(row)
                across += facts.session[session] != facts.session[row]
    return rows, across


def cut(facts: Facts) -> tuple[Leak, ...]:
    """Answers that ended because they were as long as was allowed."""
    groups = dict(facts.rows_by(lambda kind: (kind.workflow, kind.agent)))
    ends = facts.rows_by(lambda kind: (kind.workflow, kind.agent) if kind.finish in ("length", "max_tokens") else None)
    leaks = []
    for name, rows in ends:
        figure = share_of_calls(facts, rows, groups[name])
        note = "the answer ended at the limit of output tokens: raise it, or ask for less"
        leaks.append(Leak(workflow=name[0], agent=name[1], share=figure, spend=spend(facts, rows), note=note))
    return tuple(sorted(leaks, key=lambda leak: -leak.spend.nanodollars))


def traffic(facts: Facts) -> tuple[Traffic, ...]:
    return tuple(_traffic(facts, name, rows) for (name,), rows in facts.rows_by(lambda kind: (kind.workflow,)))


def _traffic(facts: Facts, workflow: str, rows: array[int]) -> Traffic:
    times = sorted(facts.started[row] for row in rows)
    hours = (times[-1] - times[0]) / 3.6e12
    minutes: dict[int, int] = {}
    for moment in times:
        minute = (moment - times[0]) // _MINUTE
        minutes[minute] = minutes.get(minute, 0) + 1
    inputs, outputs = (sorted(column[row] for row in rows) for column in (facts.input, facts.output))
    return Traffic(
        workflow=workflow,
        calls=len(rows),
        hours=hours,
        input_p50=quantile(inputs, 0.5),
        input_p90=quantile(inputs, 0.9),
        output_p50=quantile(outputs, 0.5),
        output_p90=quantile(outputs, 0.9),
        burstiness=_burstiness(times),
        peak=max(minutes.values()) / (len(rows) / (hours * 60)) if hours > 1 / 60 else None,
    )


def _burstiness(times: list[int]) -> Figure:
    """CV of the gaps between arrivals; its interval from as many blocks of consecutive gaps as there are groups: gaps
    are not independent, blocks nearly are (jackknife over blocks)."""
    method = "standard deviation / mean of the gaps; jackknife over blocks of consecutive gaps, 95 %"
    gaps = [(after - before) / 1e9 for before, after in pairwise(times)]
    whole = _cv(len(gaps), sum(gaps), sum(gap * gap for gap in gaps))
    blocks = min(GROUPS, len(gaps) // 10)
    if whole is None or blocks < 2:
        return Figure(value=whole, n=len(gaps), unit_of_n="gaps", method=method)
    total, squares = sum(gaps), sum(gap * gap for gap in gaps)
    left = []
    for block in range(blocks):
        part = gaps[block * len(gaps) // blocks : (block + 1) * len(gaps) // blocks]
        rest = _cv(len(gaps) - len(part), total - sum(part), squares - sum(gap * gap for gap in part))
        left.append(whole if rest is None else rest)
    centre = sum(left) / blocks
    error: float = ((blocks - 1) / blocks * sum((each - centre) ** 2 for each in left)) ** 0.5
    low, high = max(0.0, whole - 2 * error), whole + 2 * error
    return Figure(value=whole, low=low, high=high, n=len(gaps), unit_of_n="gaps", method=method)


def _cv(n: int, total: float, squares: float) -> float | None:
    if n < 2 or total <= 0:
        return None
    mean = total / n
    return float(max(0.0, squares / n - mean * mean) ** 0.5 / mean)
