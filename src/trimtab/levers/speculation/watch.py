"""The drift watch: does the drafter still guess what the model says, or has the traffic changed under it?

Recorded usage says what was drafted and taken (`completion_tokens_details`: accepted_ and rejected_prediction_tokens).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from trimtab.stats.detector import ShiryaevRoberts, threshold
from trimtab.trace import Call, Trace

MARGIN = 0.1  # acceptance may fall by so much before it counts as drift
FALSE_ALARMS, PER = 0.05, 5_000  # at most this share of watches alarm within so many healthy calls, by proof
RETRAIN = "retrain drafter"


class Seen(msgspec.Struct, frozen=True):
    """One agent: acceptance when the drafter was built, now (the newest RECENT calls), and the detector's evidence."""

    agent: str
    calls: int
    built: float
    now: float
    evidence: float
    alarm: bool

    @property
    def said(self) -> str:
        return RETRAIN if self.alarm else "as built" if self.calls else "no drafted call"


RECENT = 200


def accepted(call: Call) -> tuple[int, int] | None:
    """(drafted, taken) tokens of a call; None where nothing was drafted, or not told."""
    details = (call.raw_usage or {}).get("completion_tokens_details")
    if not isinstance(details, dict):
        return None
    taken, refused = details.get("accepted_prediction_tokens"), details.get("rejected_prediction_tokens")
    if type(taken) is not int or type(refused) is not int or taken < 0 or refused < 0 or taken + refused == 0:
        return None
    return taken + refused, taken


def watch(traces: Iterable[Trace], built: dict[str, float], model: str = "") -> list[Seen]:
    """Each agent of `built` (acceptance by agent, `all` for every one) over the calls in their order.

    An e-detector of x = acceptance of the call − acceptance as built, at MARGIN: see `stats.detector`. `model`: only
    calls answered by it.
    """
    calls = sorted(
        (
            call
            for trace in traces
            for call in trace.calls
            if not model or model in (call.response_model, call.request_model)
        ),
        key=lambda call: call.started_ns,
    )
    bar = threshold(FALSE_ALARMS, PER)
    detectors = {agent: ShiryaevRoberts(MARGIN, bar) for agent in built}
    shares: dict[str, list[float]] = {agent: [] for agent in built}
    for call in calls:
        told = accepted(call)
        if told is None:
            continue
        share = told[1] / told[0]
        for agent in ("all", call.agent):
            if agent in built:
                detectors[agent].feed(share - built[agent])
                shares[agent].append(share)
    return [_seen(agent, built[agent], shares[agent], detectors[agent]) for agent in built]


def _seen(agent: str, built: float, shares: list[float], detector: Any) -> Seen:
    newest = shares[-RECENT:]
    now = sum(newest) / len(newest) if newest else built
    return Seen(agent, len(shares), built, now, float(detector.value), bool(detector.alarm))
