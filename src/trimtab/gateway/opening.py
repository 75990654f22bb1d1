"""The opening of a stream: where its prelude ends and content begins, in the events of the three dialects.

Knows no connections. What failed inside the prelude can still be failed over, or become an answer with a status.
"""

from __future__ import annotations

import enum
from typing import Any

from trimtab.gateway import sse, wire

# Events of the messages and responses dialects that come before any content.
_PRELUDES = frozenset(
    (
        "message_start",
        "ping",
        "content_block_start",
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    )
)
# What a provider calls an error inside a stream -> the status it would have had outside.
_STATUS = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
    "server_error": 500,
    "api_error": 500,
    "invalid_request_error": 400,
}


class Sign(enum.Enum):
    """What one event says of how far the answer has come."""

    PRELUDE = enum.auto()
    CONTENT = enum.auto()
    ERROR = enum.auto()
    END = enum.auto()


def sign(event: bytes) -> Sign:
    """Comments, what is not JSON, and chunks that carry a role and no words are prelude."""
    data = sse.data(event)
    if data is None:
        return Sign.PRELUDE
    if data.strip() == b"[DONE]":
        return Sign.END
    chunk = wire.value(data)
    if not isinstance(chunk, dict):
        return Sign.PRELUDE
    kind, choices = chunk.get("type"), chunk.get("choices")
    if chunk.get("error") or kind in ("error", "response.failed"):
        return Sign.ERROR
    if isinstance(kind, str):
        return Sign.PRELUDE if kind in _PRELUDES else Sign.CONTENT
    if isinstance(choices, list):
        return Sign.CONTENT if any(_speaks(choice) for choice in choices) else Sign.PRELUDE
    return Sign.CONTENT  # of no known shape: not ours to hold back


def _speaks(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    said = isinstance(delta, dict) and any(held for name, held in delta.items() if name != "role")
    return bool(said or choice.get("text") or choice.get("finish_reason"))


def refusal(event: bytes) -> tuple[int, bytes]:
    """Status and body for an error event that came before any content: its own data where that has an error's shape."""
    data = sse.data(event) or b""
    chunk = wire.value(data)
    error = chunk.get("error") if isinstance(chunk, dict) else None
    for word in (error.get("code"), error.get("status"), error.get("type")) if isinstance(error, dict) else ():
        if type(word) is int and 400 <= word < 600:
            return word, data
        if isinstance(word, str) and word in _STATUS:
            return _STATUS[word], data
    if error:
        return 502, data
    response = chunk.get("response") if isinstance(chunk, dict) else None
    inner = response.get("error") if isinstance(response, dict) else None
    message = inner.get("message") if isinstance(inner, dict) else None
    message = message if isinstance(message, str) else wire.reported(chunk)
    message = message or "the model server failed before it said anything: ask again"
    return 502, wire.error_body(message, "upstream_error", code="stream_upstream_error")
