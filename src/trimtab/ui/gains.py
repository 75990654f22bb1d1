"""What each lever of the demo brought, by the recorded calls: a row for what served before, and one for each lever."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from trimtab.deployment import Deployment
from trimtab.gateway.trial import SHADOW
from trimtab.money import PriceTable
from trimtab.plan.spending import Hits, Moves
from trimtab.stats.quantiles import quantile
from trimtab.trace import Trace
from trimtab.ui.proving import Came

AT_FIRST = "as it was"
FOREVER = 1 << 63


class Row(msgspec.Struct, frozen=True):
    """`calls` and `nanodollars` saved from the beginning of the lever's rollout to the next one's. Where it came to
    serve in full, what was answered then: `sessions`, the share `solved`, and in milliseconds how long a call took."""

    lever: str
    stage: str
    calls: int
    nanodollars: int
    sessions: int = 0
    solved: float = 0.0
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    cost_nanodollars: float = 0.0


def rows(traces: Iterable[Trace], came: Sequence[Came], before: Deployment, prices: PriceTable) -> list[Row]:
    """Each call is in one row, so the rows add up to what all saved. `cost_nanodollars` is a session's, on average."""
    held = sorted(traces, key=lambda trace: trace.calls[0].started_ns if trace.calls else 0)
    stages = [Came(AT_FIRST, "", 0, 1), *(each for each in came if each.began_ns)]
    ends = [each.began_ns for each in stages[1:]] + [FOREVER]
    return [_row(held, stage, end, before, prices) for stage, end in zip(stages, ends, strict=True)]


def _row(traces: Sequence[Trace], stage: Came, end: int, before: Deployment, prices: PriceTable) -> Row:
    hits, moves = Hits(), Moves(before, prices)
    calls = [call for trace in traces for call in trace.calls if stage.began_ns <= call.started_ns < end]
    for call in calls:
        hits.add(call)
        moves.add(call)
    row = Row(stage.lever, stage.stage, hits.saved().calls, hits.saved().nanodollars + moves.moved().nanodollars)
    whole = [trace for trace in traces if stage.full_ns and _is_between(trace, stage.full_ns, end)]
    theirs = [call for trace in whole for call in trace.calls]
    if not theirs:
        return row
    solved = [score.value for trace in whole for score in trace.scores if score.name == "success"]
    times = sorted(call.duration_ms for call in theirs)
    return msgspec.structs.replace(
        row,
        sessions=len(whole),
        solved=sum(solved) / len(solved) if solved else 0.0,
        p50_ms=quantile(times, 0.5) or 0.0,
        p90_ms=quantile(times, 0.9) or 0.0,
        cost_nanodollars=sum(call.cost_nanodollars or 0 for call in theirs) / len(whole),
    )


def _is_between(trace: Trace, begin: int, end: int) -> bool:
    """Whether a customer's session began then; what a rollout asked a second time is nobody's."""
    own = [call for call in trace.calls if SHADOW not in call.tags]
    return bool(own) and len(own) == len(trace.calls) and begin <= own[0].started_ns < end
