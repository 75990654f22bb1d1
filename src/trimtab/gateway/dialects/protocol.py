"""What a dialect is: how the bytes of one API are read, and edited in place. Knows no HTTP, no endpoint and no step."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from trimtab.gateway.wire import Head, Problem


class Answer(msgspec.Struct, frozen=True):
    """What the gateway reads of a plain answer; `error` where it is one, whatever its status says."""

    model: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: bool = False


class Reading(Protocol):
    """A streamed answer that is put back together while it passes. Chunks of an unknown shape are left out."""

    @property
    def model(self) -> str: ...

    @property
    def finish_reason(self) -> str | None: ...

    @property
    def usage(self) -> dict[str, Any] | None: ...

    @property
    def finished(self) -> bool:
        """Whether the answer is whole by what it says itself."""

    def add(self, chunk: dict[str, Any]) -> None:
        """Take the next event's decoded data."""

    def answer(self) -> dict[str, Any] | None:
        """The plain answer so far, as it would have been without streaming; None before it began."""


class Dialect(Protocol):
    """One API. `path` is what clients ask for, the same below an endpoint's url, which stands for `/v1`.

    `spoken_by` is the `dialect` of the endpoints that speak it; `operation` is OpenTelemetry's `gen_ai.operation.name`.
    """

    @property
    def name(self) -> str: ...

    @property
    def operation(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def spoken_by(self) -> str: ...

    def outgoing(self, body: bytes, head: Head, model: str) -> bytes:
        """The body for an endpoint that calls the model `model`; `body` itself where nothing changes."""

    def answer(self, body: bytes) -> Answer | None:
        """What a plain answer says of itself; None where it is no JSON object of that shape."""

    def reading(self) -> Reading:
        """For a stream that begins."""

    def hides(self, chunk: dict[str, Any], head: Head) -> bool:
        """Whether an event is there for the gateway alone, because the gateway asked for it."""

    def can_wait(self, event: bytes) -> bool:
        """Whether an event's bytes show that reading it may wait: nothing of it is hidden, it is no error and not the
        last one. In doubt it may not."""

    def is_last(self, chunk: dict[str, Any]) -> bool:
        """Whether nothing follows this event."""

    def failure(self, chunk: dict[str, Any]) -> str | None:
        """The message of an error event; None for all other events."""

    def error_body(self, problem: Problem) -> bytes:
        """A plain error."""

    def error_event(self, problem: Problem) -> bytes:
        """The event that tells the client that its answer is not whole."""
