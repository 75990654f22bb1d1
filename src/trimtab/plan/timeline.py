"""One session as a chain of calls and the gaps between them: where its seconds go. Knows no money."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator

import msgspec

from trimtab.plan import messages
from trimtab.trace import Call, EndState

ANSWERED = frozenset({"stop", "length", "content_filter"})


class Stage(enum.StrEnum):
    """What a second of the critical path was spent on."""

    PREFILL = "prefill"  # request sent to first token: queue and prompt
    DECODE = "decode"  # first token to last
    MODEL = "model"  # a call that was not streamed: the two cannot be told apart
    TOOLS = "tools"  # an answer with tool calls to the next request: the tools and the client
    CUSTOMER = "customer"  # an answer without tool calls to the next request
    OTHER = "other"  # after a failed call, or one of which too little was recorded


class Exchange(msgspec.Struct, frozen=True):
    """A call, and what its bodies say where they were recorded."""

    call: Call
    bodies: messages.Bodies | None

    @property
    def asked(self) -> tuple[messages.ToolCall, ...]:
        return self.bodies.asked if self.bodies else ()

    @property
    def pieces(self) -> tuple[messages.Piece, ...]:
        return self.bodies.pieces if self.bodies else ()


class Segment(msgspec.Struct, frozen=True):
    """A piece of the critical path. A gap belongs to the exchange before it."""

    exchange: Exchange
    stage: Stage
    seconds: float


def segments(exchanges: Iterable[Exchange]) -> Iterator[Segment]:
    """The session cut into pieces that do not overlap and sum to the time from its first start to its last end.

    Where calls overlap, a second counts for the call that started first; so no piece is negative, even when the
    clock went back between two calls.
    """
    last: Exchange | None = None
    horizon = 0
    for one in sorted(exchanges, key=lambda each: each.call.started_ns):
        start = one.call.started_ns
        end = start + max(0, round(one.call.duration_ms * 1e6))
        if last is None:
            horizon = start
        elif start > horizon:
            yield Segment(last, _gap(last), (start - horizon) / 1e9)
            horizon = start
        yield from _model(one, horizon, end)
        if last is None or end >= horizon:
            last, horizon = one, end


def _model(one: Exchange, begin: int, end: int) -> Iterator[Segment]:
    """The part of the call from `begin` on, split at its first token."""
    if end <= begin:
        return
    if one.call.ttft_ms is None:
        yield Segment(one, Stage.MODEL, (end - begin) / 1e9)
        return
    first = one.call.started_ns + max(0, round(one.call.ttft_ms * 1e6))
    split = min(max(first, begin), end)
    if split > begin:
        yield Segment(one, Stage.PREFILL, (split - begin) / 1e9)
    if end > split:
        yield Segment(one, Stage.DECODE, (end - split) / 1e9)


def _gap(before: Exchange) -> Stage:
    """What the silence after an exchange was: its tools ran, or the customer read and typed."""
    call = before.call
    if call.end is not EndState.COMPLETE:
        return Stage.OTHER
    if before.asked or call.finish_reason == "tool_calls":
        return Stage.TOOLS
    answered = before.bodies is not None and before.bodies.answered
    return Stage.CUSTOMER if answered or call.finish_reason in ANSWERED else Stage.OTHER
