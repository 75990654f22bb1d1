"""What a crossing is: a request of one dialect put into another, and the answer put back. Over JSON values alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from trimtab.gateway.dialects.protocol import Dialect


class Asked(msgspec.Struct, frozen=True):
    """What an answer may have to say again: the client's own request, and when it came, in Unix time."""

    body: dict[str, Any] = {}
    created: int = 0


class Turning(Protocol):
    """A stream that is turned while it passes: events in, as decoded data, and the other dialect's events out."""

    def add(self, chunk: dict[str, Any]) -> Iterable[dict[str, Any]]: ...

    def end(self) -> Iterable[dict[str, Any]]:
        """The stream is over: what was still held back. Nothing that makes a broken one look whole."""


class Crossing(Protocol):
    """For clients of one dialect at endpoints of another, `to`. What has no word there is refused (RequestRefused)."""

    @property
    def to(self) -> Dialect: ...

    def request(self, body: dict[str, Any]) -> dict[str, Any]: ...

    def answer(self, body: dict[str, Any], asked: Asked) -> dict[str, Any]:
        """The endpoint's plain answer in the client's dialect."""

    def turning(self, asked: Asked) -> Turning: ...

    def encode(self, event: dict[str, Any]) -> bytes:
        """One of the client's events as bytes."""


def unnamed(event: dict[str, Any]) -> bytes:
    """An event as OpenAI's chat sends it. One without members is the end mark."""
    return b"data: " + (msgspec.json.encode(event) if event else b"[DONE]") + b"\n\n"


def named(event: dict[str, Any]) -> bytes:
    """An event that also carries its type as its name."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n"
