"""The forecast: which agents are narrow enough, and what a small model in their place would save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trimtab.errors import FormatError, MissingExtra, ModelError
from trimtab.lever import Estimate
from trimtab.levers import encoder, labels, narrowness
from trimtab.levers.examples import Example
from trimtab.levers.small_model.options import Options
from trimtab.money import PriceTable
from trimtab.stats.ratios import ratio, summed

_METHOD = (
    "calls of agents that are narrow (few output forms, 300 traces), or that a label head would answer, "
    "at {price:.0%} of their present cost; ratio over sessions, 95 %"
)


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is "label", "generate" or "none"; [`low`, `high`] bounds the share of its calls that could go."""

    kind: str
    share: float
    low: float
    high: float
    row: dict[str, Any]
    methods: list[dict[str, Any]]


def estimate(found: Mapping[str, Sequence[Example]], its: Options, prices: PriceTable) -> Estimate:
    """Of the calls by agent."""
    judged = {agent: _judged(agent, some, its) for agent, some in sorted(found.items())}
    middle, least, most = (
        ratio(summed(_parts(found, judged, its, prices, which))) for which in ("share", "low", "high")
    )
    saving = middle.value or 0.0
    # Of fewer than two sessions nothing is known.
    low = min(0.0 if each.low is None else each.low for each in (middle, least))
    high = max(1.0 if each.high is None else each.high for each in (middle, most))
    sessions = {each.cluster for some in found.values() for each in some}
    kinds = [each.kind for each in judged.values()]
    return Estimate(
        lever="small_model",
        saving=_clipped(saving),
        low=min(_clipped(low), _clipped(saving)),
        high=max(_clipped(high), _clipped(saving)),
        n=len(sessions),
        method=_METHOD.format(price=its.price),
        risk=(
            f"{kinds.count('label')} label agents, {kinds.count('generate')} narrow ones, {kinds.count('none')} others;"
            " whether quality holds is for the gate to say; the small model's own machine costs what option price says"
        ),
        tables={
            "agents": [each.row for each in judged.values()],
            "closed sets: how often the old model's answer is met": [
                row for each in judged.values() for row in each.methods
            ],
        },
    )


def _parts(
    found: Mapping[str, Sequence[Example]], judged: Mapping[str, Agent], its: Options, prices: PriceTable, end: str
) -> list[tuple[str, float, float]]:
    """(session, saved, cost) of every call."""
    parts = []
    for agent, some in found.items():
        its_share = getattr(judged[agent], end)
        kept = its.price if judged[agent].kind == "generate" else 0.0
        for each in some:
            cost = float(each.call.cost_nanodollars or 0)
            if not cost and (known := prices.cost(each.call.priced_as, each.call.usage)) is not None:
                cost = float(known.nanodollars)
            parts.append((each.cluster, cost * its_share * (1 - kept), cost))
    return parts


def _judged(agent: str, some: Sequence[Example], its: Options) -> Agent:
    narrow = narrowness.measure(some)
    known = labels.closed_set(labels.label(each) for each in some) if its.kind != "generate" else None
    methods = _methods(agent, some, known, its) if known is not None else []
    row = {
        "agent": agent or "(none)",
        "calls": len(some),
        "template": f"{narrow.template:.0%}",
        "known forms": f"{narrow.covered:.0%} [{narrow.low:.0%}, {narrow.high:.0%}]",
        "tool calls or JSON": f"{narrow.structured:.0%}",
        "outputs": f"{len(known.labels)} labels" if known else "open",
    }
    best = max((told for _, told in methods), key=lambda told: told.cutoff.answered, default=None)
    rows = [made for made, _ in methods]
    if best is not None and best.cutoff.answered > 0:
        cut = best.cutoff
        return _agent("label", (cut.answered, cut.answered_low, cut.answered_high), row, rows)
    if narrow.is_narrow and its.kind != "label":
        return _agent("generate", (1.0, narrow.low, 1.0), row, rows)
    # Too few traces yet: it may still turn out narrow.
    open_end = narrow.high if narrow.n < narrowness.ENOUGH else 0.0
    return _agent("none", (0.0, 0.0, open_end), row, rows)


def _agent(kind: str, shares: tuple[float, float, float], row: dict[str, Any], methods: list[dict[str, Any]]) -> Agent:
    advice = {"label": "label head", "generate": "small model", "none": "leave alone"}[kind]
    share, low, high = shares
    return Agent(kind=kind, share=share, low=low, high=high, row={**row, "advice": advice}, methods=methods)


def _methods(
    agent: str, some: Sequence[Example], known: labels.LabelSet, its: Options
) -> list[tuple[dict[str, Any], labels.Judged]]:
    """The baseline always; the sentence encoder where one is installed."""
    try:
        parts = labels.parted(some, known)
    except FormatError:
        return []
    told = [labels.by_terms(parts, known, its.alpha)]
    try:
        held = encoder.load(its.encoder)
    except (MissingExtra, ModelError):
        held = None
    if held is not None:
        told.append(labels.by_encoder(parts, known, held.embed, held.version, its.alpha))
    return [(_row(agent, each), each) for each in told]


def _row(agent: str, told: labels.Judged) -> dict[str, Any]:
    agreed, cut = told.agreement, told.cutoff
    return {
        "agent": agent or "(none)",
        "by": told.method,
        "agrees": f"{agreed.share:.1%} [{agreed.low:.1%}, {agreed.high:.1%}]",
        "commonest label": f"{agreed.commonest:.1%}",
        "answers": f"{cut.answered:.1%} at most {cut.alpha:.0%} wrong",
        "wrong": f"{cut.wrong:.1%}",
    }


def _clipped(value: float) -> float:
    return min(1.0, max(0.0, value)) if value == value else 0.0
