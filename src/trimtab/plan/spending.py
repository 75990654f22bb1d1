"""Where money went: sums over calls that keep the unknown apart, by agent, by repeat, by failure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from trimtab.gateway.trial import SHADOW
from trimtab.plan import messages
from trimtab.plan.timeline import Exchange
from trimtab.stats.quantiles import quantile
from trimtab.trace import CACHE_TAG, SAVED_MS_TAG, SAVED_TAG, Call, EndState


class Spend(msgspec.Struct, frozen=True):
    """A sum over calls: `nanodollars` of those with a known price, `unpriced` counts the others."""

    nanodollars: int = 0
    priced: int = 0
    unpriced: int = 0

    @property
    def known(self) -> int | None:
        """The amount; None where calls were made and not one of them has a price."""
        return None if self.unpriced and not self.priced else self.nanodollars


class AgentUse(msgspec.Struct, frozen=True, kw_only=True):
    """One agent: `share` is of the known cost (None where that is 0); times are of complete calls."""

    agent: str
    calls: int
    spend: Spend
    share: float | None
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    model_seconds: float
    ttft_p50_ms: float | None
    latency_p50_ms: float | None
    latency_p90_ms: float | None


class Repeats(msgspec.Struct, frozen=True):
    """Requests whose model, messages and tools were all seen before; `across` were first seen in another session."""

    requests: int
    across: int
    spend: Spend


class Saved(msgspec.Struct, frozen=True):
    """Calls that were answered from what was kept, of all of them; what they would have cost as far as a price was
    known (`unpriced` counts the others), and the milliseconds that the calls they stand for had taken."""

    hits: int = 0
    calls: int = 0
    nanodollars: int = 0
    unpriced: int = 0
    ms: int = 0


class EndUse(msgspec.Struct, frozen=True):
    """Calls that ended in one state other than complete."""

    end: EndState
    calls: int
    spend: Spend


def spend(calls: Iterable[Call]) -> Spend:
    """What `calls` cost together."""
    costs = [call.cost_nanodollars for call in calls]
    priced = [cost for cost in costs if cost is not None]
    return Spend(sum(priced), len(priced), len(costs) - len(priced))


def agents(calls: list[Call]) -> tuple[AgentUse, ...]:
    total = spend(calls).nanodollars
    by_agent: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_agent[call.agent].append(call)
    rows = [_agent(agent, its, total) for agent, its in by_agent.items()]
    return tuple(sorted(rows, key=lambda row: (-row.spend.nanodollars, -row.calls, row.agent)))


def _agent(agent: str, calls: list[Call], total: int) -> AgentUse:
    cost = spend(calls)
    complete = [call for call in calls if call.end is EndState.COMPLETE]
    latencies = [call.duration_ms for call in complete]
    return AgentUse(
        agent=agent,
        calls=len(calls),
        spend=cost,
        share=cost.nanodollars / total if total else None,
        input_tokens=sum(call.usage.input_tokens for call in calls),
        output_tokens=sum(call.usage.output_tokens for call in calls),
        cache_read_tokens=sum(call.usage.cache_read_tokens for call in calls),
        model_seconds=sum(max(0.0, call.duration_ms) for call in calls) / 1000,
        ttft_p50_ms=quantile([call.ttft_ms for call in complete if call.ttft_ms is not None], 0.5),
        latency_p50_ms=quantile(latencies, 0.5),
        latency_p90_ms=quantile(latencies, 0.9),
    )


def repeats(sessions: Mapping[str, list[Exchange]]) -> Repeats:
    """Exact repeats in order of time over all sessions; only a complete call can be repeated or be a repeat."""
    ordered = sorted(
        ((one, name) for name, session in sessions.items() for one in session),
        key=lambda pair: pair[0].call.started_ns,
    )
    first: dict[bytes, str] = {}
    again: list[Call] = []
    across = 0
    for one, session in ordered:
        if one.payload is None or one.call.end is not EndState.COMPLETE:
            continue
        key = messages.digest(one.payload.request)
        if key in first:
            again.append(one.call)
            across += first[key] != session
        else:
            first[key] = session
    return Repeats(len(again), across, spend(again))


def failures(calls: list[Call]) -> tuple[EndUse, ...]:
    by_end: dict[EndState, list[Call]] = defaultdict(list)
    for call in calls:
        if call.end is not EndState.COMPLETE:
            by_end[call.end].append(call)
    rows = [EndUse(end, len(its), spend(its)) for end, its in by_end.items()]
    return tuple(sorted(rows, key=lambda row: (-row.calls, row.end)))


def saved(calls: Iterable[Call]) -> Saved:
    """What kept answers saved, by the tags of the calls. What a rollout asked a second time saved nobody anything."""
    known = [call for call in calls if SHADOW not in call.tags]
    hits = [call for call in known if call.tags.get(CACHE_TAG) == "hit"]
    priced = [call for call in hits if SAVED_TAG in call.tags]
    return Saved(
        hits=len(hits),
        calls=len(known),
        nanodollars=sum(_whole(call.tags[SAVED_TAG]) for call in priced),
        unpriced=len(hits) - len(priced),
        ms=sum(_whole(call.tags.get(SAVED_MS_TAG, "")) for call in hits),
    )


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
