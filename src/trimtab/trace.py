"""Call and Trace: what was asked of a model, what came back, and the unit of work it belonged to.

Field names follow OpenTelemetry's GenAI conventions where one exists. Knows no database and no wire format.
"""

from __future__ import annotations

import enum
import json
from typing import Any

import msgspec

from trimtab.money import Usage

# The tag of a call that a step which keeps answers has seen: "hit" (it cost nothing), "miss" or "bypass"; and, of a
# hit, what the call that it stands for would have cost, in nano-dollars, and how long it had taken.
CACHE_TAG, SAVED_TAG, SAVED_MS_TAG = "trimtab.cache", "trimtab.saved_nanodollars", "trimtab.saved_ms"


class EndState(enum.StrEnum):
    """How a call ended; exactly one. Only `COMPLETE` counts as an answer."""

    COMPLETE = "complete"
    CUT = "cut"
    STALLED = "stalled"
    CLIENT_GONE = "client-gone"
    UPSTREAM_ERROR = "upstream-error"
    REFUSED = "refused"


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """One judgement of a trace: `value` in [0, 1] (1 = best), by `source` (an oracle, a person, a judge)."""

    name: str
    value: float
    source: str = ""


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model request and its answer.

    Times: `started_ns` is Unix time in ns; `ttft_ms` is the time to the first chunk of a stream, None when not
    streamed; `duration_ms` is from the request's arrival to its end; `overhead_ms` is the gateway's own share.
    Money: `cost_nanodollars` is None where the price is unknown; `priced_as` is the name that was looked up in the
    price table, and `price_table` the version that had it. `raw_usage` is the provider's own object.
    Who: `trace_id` is one unit of work; `session` one conversation; `derived` is True where nothing in the
    request named the agent and it was told from a fingerprint of system prompt and tools.
    """

    id: str
    trace_id: str
    span_id: str
    started_ns: int
    duration_ms: float
    end: EndState
    workflow: str = ""
    agent: str = ""
    session: str = ""
    user: str = ""
    tags: dict[str, str] = {}
    parent_id: str | None = None
    derived: bool = False
    operation: str = "chat"
    endpoint: str = ""
    deployment: str = ""
    request_model: str = ""
    response_model: str = ""
    stream: bool = False
    status: int = 200
    finish_reason: str | None = None
    error: str | None = None
    ttft_ms: float | None = None
    overhead_ms: float | None = None
    usage: Usage = Usage()
    raw_usage: dict[str, Any] | None = None
    cost_nanodollars: int | None = None
    price_table: str = ""
    priced_as: str = ""


class Payload(msgspec.Struct, frozen=True):
    """The bodies of one call, as JSON values; kept apart from the counters. `response` is the whole answer in the
    plain (not streamed) shape, reassembled if it was streamed; None where there was none."""

    call_id: str
    request: dict[str, Any]
    response: dict[str, Any] | None

    def decoded(self) -> Payload:
        return self


class EncodedPayload(msgspec.Struct, frozen=True):
    """A payload whose bodies are taken apart into their members, and these are JSON texts still, as they came.

    Encoded, it looks like a `Payload`. Of a key that a body has twice at its top only the last is left.
    """

    call_id: str
    request: dict[str, msgspec.Raw]
    response: dict[str, msgspec.Raw] | None

    def decoded(self) -> Payload:
        request = {name: json_value(text) for name, text in self.request.items()}
        response = self.response
        answered = None if response is None else {name: json_value(text) for name, text in response.items()}
        return Payload(self.call_id, request, answered)


_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
UNREADABLE = {"trimtab": "this part of the body cannot be decoded"}
# The interpreter reads whole numbers of up to 4300 digits.
_MOST_DIGITS = 4000


def members(body: bytes) -> dict[str, msgspec.Raw]:
    """The members of a body, with nothing in them decoded.

    Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError where it is no JSON object in UTF-8.
    """
    if not body.isascii():
        body.decode()  # What is passed over undecoded is not checked otherwise.
    return _MEMBERS.decode(body)


def json_value(text: bytes | msgspec.Raw) -> Any:
    """What the valid JSON `text` holds. Numbers too large to decode become infinite, and what cannot be decoded at all
    an object that says so."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(bytes(text).decode(), parse_int=_int)
    except (ValueError, RecursionError):
        return dict(UNREADABLE)


def _int(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


class Record(msgspec.Struct, frozen=True):
    """What the recorder hands to the store: a call and, where bodies are recorded, its payload."""

    call: Call
    payload: Payload | EncodedPayload | None = None


class EncodedRecord(Record, frozen=True):
    """A record as it is decoded where it only passes through: its bodies stay as they are."""

    payload: EncodedPayload | None = None


class Trace(msgspec.Struct, frozen=True):
    """The calls of one unit of work in the order they started, with its scores."""

    id: str
    calls: tuple[Call, ...]
    payloads: dict[str, Payload] = {}
    scores: tuple[Score, ...] = ()


class Workflow(msgspec.Struct, frozen=True):
    """A recurring job the application does; savings are stated per workflow and per agent."""

    name: str
    agents: tuple[str, ...] = ()
