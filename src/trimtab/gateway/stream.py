"""The life of one streamed answer: what may go to the client now, and in which of its named ends it stands.

A state machine over bytes; knows no sockets. Only whole events go out, so a cut never leaves half an event behind.
"""

from __future__ import annotations

import msgspec

from trimtab.gateway import sse, wire
from trimtab.gateway.dialects.protocol import Dialect, Reading
from trimtab.gateway.wire import Head, Problem
from trimtab.trace import EndState

_DECODE = msgspec.json.Decoder().decode
# Events left for later: enough to save the time, few enough to be no burden.
_MOST_UNREAD = 256
_MAX_EVENT_BYTES = 16 * 1024 * 1024
_MESSAGES = {
    EndState.CUT: "the model server ended the stream before the answer was whole: ask again",
    EndState.STALLED: "the model server fell silent in the middle of the answer: ask again, or raise stall_s",
    EndState.UPSTREAM_ERROR: "the model server failed in the middle of the answer: ask again",
}


class Relay:
    """Feed it the upstream's bytes; it returns the client's, and tees each event into `assembly`.

    `end` is None while the answer goes on. After it is set, `feed` returns nothing more. What `dialect` hides from the
    client that asked with `head` (a usage chunk that only the gateway wanted) is kept back.
    """

    def __init__(self, dialect: Dialect, head: Head) -> None:
        self.dialect = dialect
        self.head = head
        self._assembly = dialect.reading()
        self.end: EndState | None = None
        self.error: str | None = None
        self.malformed = 0
        self._splitter = sse.Splitter()
        self._unread: list[bytes] = []

    @property
    def assembly(self) -> Reading:
        """What was said so far."""
        self._catch_up()
        return self._assembly

    def feed(self, data: bytes) -> bytes:
        """The bytes that may go out now: the input's own, by whole events."""
        if self._can_wait(data):
            self._unread.append(data)
            if len(self._unread) >= _MOST_UNREAD:
                self._catch_up()
            return data
        self._catch_up()
        ended = self.end is not None
        kept = [event for event in self._splitter.feed(data) if self.end is None and self._passes(event)]
        if self.end is None and len(self._splitter.tail) > _MAX_EVENT_BYTES:
            return b"".join(kept) + self.fail(EndState.UPSTREAM_ERROR)
        if self.end is EndState.CUT and not ended:
            kept.append(self._error_event(self.end))
        return b"".join(kept)

    def close(self) -> bytes:
        """The upstream closed in good order; the last bytes for the client.

        Complete where every choice had said why it ended, else cut.
        """
        # An event that only lacks its blank line is whole; half an event would break the client's parser.
        last = self.feed(b"\n\n") if _is_whole(self._splitter.tail) else b""
        if self.end is None and self.assembly.finished:
            self.end = EndState.COMPLETE
        return last + self.fail(EndState.CUT)

    def fail(self, end: EndState) -> bytes:
        """The upstream is lost in the way `end` names; the error event for the client (no `[DONE]` follows)."""
        self._catch_up()
        if self.end is not None:
            return b""
        self.end = end
        self.error = _MESSAGES[end]
        return self._error_event(end)

    def _can_wait(self, data: bytes) -> bool:
        """Whether `data` is one whole event that may be read later: many at once cost less than one by one, between
        which a processor does other things."""
        return (
            self.end is None
            and not self._splitter.tail
            and data.find(b"\n\n") == len(data) - 2 > 0
            and b"\r" not in data
            and self.dialect.can_wait(data)
        )

    def _catch_up(self) -> None:
        """Read what was left for later."""
        unread, self._unread = self._unread, []
        for event in unread:
            if self.end is None:
                self._passes(event)

    def _passes(self, event: bytes) -> bool:
        """Take note of one event; whether it goes to the client."""
        data = sse.data(event)
        if data is None:
            return True
        if data.strip() == b"[DONE]":
            return self._settle()
        try:
            chunk = _DECODE(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.malformed += 1
            return True
        if not isinstance(chunk, dict):
            self.malformed += 1
            return True
        if (failure := self.dialect.failure(chunk)) is not None:
            self._assembly.add(chunk)
            self.end = EndState.UPSTREAM_ERROR
            self.error = failure or _MESSAGES[EndState.UPSTREAM_ERROR]
            return True
        self._assembly.add(chunk)
        if self.dialect.is_last(chunk):
            return self._settle()
        return not self.dialect.hides(chunk, self.head)

    def _settle(self) -> bool:
        """Nothing follows: set the end by whether the answer is whole."""
        whole = self._assembly.finished
        self.end = EndState.COMPLETE if whole else EndState.CUT
        self.error = None if whole else _MESSAGES[EndState.CUT]
        return whole

    def _error_event(self, end: EndState) -> bytes:
        """The event that tells the client that the answer is not whole."""
        return self.dialect.error_event(Problem(_MESSAGES[end], code="stream_" + end.value.replace("-", "_")))


def _is_whole(event: bytes) -> bool:
    data = sse.data(event)
    return data is not None and (data.strip() == b"[DONE]" or wire.value(data) is not None)
