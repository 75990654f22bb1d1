"""The split that every lever keeps to: what it is fitted on, and what is held out to judge it.

By session, so that no conversation is on both sides, and a session is always on the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trimtab.gateway.serving import share_of
from trimtab.trace import Trace

FIT = 0.7


def is_fit(trace: Trace) -> bool:
    """Whether a lever may learn from it."""
    session = next((call.session for call in trace.calls if call.session), "")
    return fits(session or trace.id)


def fits(cluster: str) -> bool:
    """As `is_fit`, by the session, or by the trace's id where it has none."""
    return share_of(f"fit split {cluster}") < FIT


def calibrates(cluster: str) -> bool:
    """Of what is held out, the half that a cut-off may be set on; the other half judges it."""
    return share_of(f"calibration split {cluster}") < 0.5


def fit(traces: Iterable[Trace]) -> Iterator[Trace]:
    return (trace for trace in traces if is_fit(trace))


def held_out(traces: Iterable[Trace]) -> Iterator[Trace]:
    return (trace for trace in traces if not is_fit(trace))
