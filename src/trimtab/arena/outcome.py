"""What a run amounts to: success, pass^k, hand-offs, tokens, cost. Numbers only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import comb

import msgspec

from trimtab.arena.run import Session
from trimtab.money import PriceTable, Usage
from trimtab.stats.intervals import wilson


class Share(msgspec.Struct, frozen=True):
    """`good` of `n`, with Wilson's 95 % interval [`low`, `high`]."""

    good: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.good / self.n if self.n else 0.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A run in numbers. `pass_k[k-1]` is the chance that k trials of one task are all solved (Yao et al. 2024);
    `handoffs` counts those that went where the oracle sends them; cost is None where the price
    or the token count is unknown."""

    success: Share
    families: dict[str, Share]
    pass_k: tuple[float, ...]
    handoffs: Share
    calls: int
    tool_calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_nanodollars: int | None
    nanodollars_per_solved: int | None
    wall_s: float
    session_s_median: float
    faults: dict[str, int]


def of(sessions: Sequence[Session], wall_s: float, prices: PriceTable, price_name: str) -> Outcome:
    """The outcome of `sessions`, priced at `price_name`."""
    by_family: dict[str, list[Session]] = defaultdict(list)
    for session in sessions:
        by_family[session.task.family].append(session)
    usage = Usage(
        input_tokens=sum(s.input_tokens for s in sessions),
        output_tokens=sum(s.output_tokens for s in sessions),
        cache_read_tokens=sum(s.cached_tokens for s in sessions),
    )
    # An endpoint that answers without counting tokens has an unknown cost, not a cost of 0.
    counted = usage.input_tokens > 0 or not any(s.calls for s in sessions)
    cost = prices.cost(price_name, usage) if counted else None
    solved = sum(s.solved for s in sessions)
    right, due = _handoffs(sessions)
    kinds: dict[str, int] = defaultdict(int)
    for session in sessions:
        for fault in session.faults[:1]:
            kinds[fault.split(":")[0]] += 1
    return Outcome(
        success=_share(solved, len(sessions)),
        families={f: _share(sum(s.solved for s in some), len(some)) for f, some in sorted(by_family.items())},
        pass_k=pass_hat(sessions),
        handoffs=_share(right, due),
        calls=sum(s.calls for s in sessions),
        tool_calls=sum(s.tool_calls for s in sessions),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cache_read_tokens,
        cost_nanodollars=cost.nanodollars if cost else None,
        nanodollars_per_solved=cost.nanodollars // solved if cost and solved else None,
        wall_s=wall_s,
        session_s_median=sorted(s.seconds for s in sessions)[len(sessions) // 2] if sessions else 0.0,
        faults=dict(sorted(kinds.items(), key=lambda item: -item[1])),
    )


def pass_hat(sessions: Sequence[Session]) -> tuple[float, ...]:
    """pass^k for k = 1..trials: the mean over tasks of C(solved, k) / C(trials, k)."""
    tasks: dict[str, list[bool]] = defaultdict(list)
    for session in sessions:
        tasks[session.task.id].append(session.solved)
    trials = min((len(some) for some in tasks.values()), default=0)
    return tuple(
        sum(comb(sum(some), k) / comb(len(some), k) for some in tasks.values()) / len(tasks)
        for k in range(1, trials + 1)
    )


def _share(good: int, n: int) -> Share:
    interval = wilson(good, n)
    return Share(good, n, interval.low, interval.high)


def _handoffs(sessions: Sequence[Session]) -> tuple[int, int]:
    """(hand-offs in the oracle's place and direction, hand-offs the oracle makes)."""
    right = due = 0
    for session in sessions:
        wanted = session.expected[1:]
        due += len(wanted)
        right += sum(a == b for a, b in zip(session.path[1:], wanted, strict=False))
    return right, due
