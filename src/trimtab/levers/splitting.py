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
    return share_of(f"fit split {session or trace.id}") < FIT


def fit(traces: Iterable[Trace]) -> Iterator[Trace]:
    return (trace for trace in traces if is_fit(trace))


def held_out(traces: Iterable[Trace]) -> Iterator[Trace]:
    return (trace for trace in traces if not is_fit(trace))
