"""The bytes of a request, whatever its dialect: decodes the little the gateway needs, edits in place what it must.

Knows no HTTP and no model server. Whatever is not edited keeps its order, its spacing and its unknown fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from trimtab.errors import RequestRefused
from trimtab.gateway import guard
from trimtab.money import usage_of

# The provider's usage object in the neutral convention: one normalisation for what is served and what is re-priced.
usage = usage_of
_EMPTY = msgspec.Raw(b"")
_SPACE = re.compile(rb"[ \t\n\r]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^,}\] \t\n\r]++")
_NESTING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]', re.DOTALL)


class Head(msgspec.Struct, frozen=True):
    """What the gateway reads of a request in any dialect; everything else stays undecoded."""

    model: str = ""
    stream: bool | None = None
    stream_options: msgspec.Raw = _EMPTY
    messages: msgspec.Raw = _EMPTY
    system: msgspec.Raw = _EMPTY
    instructions: msgspec.Raw = _EMPTY
    tools: msgspec.Raw = _EMPTY
    metadata: msgspec.Raw = _EMPTY
    user: msgspec.Raw = _EMPTY
    # OpenAI's later word for `user`; OpenRouter's and the Responses API's for a session.
    safety_identifier: msgspec.Raw = _EMPTY
    session_id: msgspec.Raw = _EMPTY
    conversation: msgspec.Raw = _EMPTY
    # How long the answer may become; whatever the client wrote there.
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None

    @property
    def streamed(self) -> bool:
        return self.stream is True


class Problem(msgspec.Struct, frozen=True):
    """An error that is told to a client; each dialect has its own shape for it. `status` is HTTP's."""

    message: str
    status: int = 502
    kind: str = "upstream_error"
    param: str | None = None
    code: str | None = None


_HEAD = msgspec.json.Decoder(Head)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def head(body: bytes) -> Head:
    """The head of a request body; RequestRefused 400 where it is no JSON object or names no model."""
    guard.check_json(body)
    try:
        decoded = _HEAD.decode(body)
    except msgspec.ValidationError as error:
        param = str(error).rpartition("$.")[2].rstrip("`") if "$." in str(error) else None
        raise RequestRefused(f"the request body is not of this shape: {error}", param=param) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestRefused(f"the request body is not valid JSON: {error}", code="invalid_json") from error
    if not decoded.model:
        raise RequestRefused("the request names no model: set 'model'", param="model", code="missing_model")
    return decoded


def value(raw: msgspec.Raw | bytes) -> Any:
    """The decoded JSON of `raw`; None where it is empty or not JSON."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def renamed(body: bytes, request: Head, model: str) -> bytes:
    """`body` with only the model's name replaced, where the endpoint calls it otherwise; else `body` itself."""
    return replaced(body, "model", msgspec.json.encode(model)) if model and model != request.model else body


def replaced(body: bytes, key: str, text: bytes) -> bytes:
    """`body`, a valid JSON object, with the value of top-level `key` set to the JSON `text`.

    A key written twice is replaced twice (parsers differ on which one counts); an absent key is added last. All other
    bytes are the same.
    """
    spans = [(start, end) for name, start, end in members(body) if name == key]
    if not spans:
        return added(body, key, text)
    pieces, at = [], 0
    for start, end in spans:
        pieces += [body[at:start], text]
        at = end
    return b"".join([*pieces, body[at:]])


def added(body: bytes, key: str, text: bytes) -> bytes:
    """`body`, a valid JSON object without the top-level `key`, with it and the JSON `text` as its last member."""
    close = body.rindex(b"}")
    last = body[:close].rstrip(b" \t\n\r")
    comma = b"" if last.endswith(b"{") and len(last.strip()) == 1 else b","
    return b"".join([last, comma, msgspec.json.encode(key), b":", text, body[len(last) :]])


def members(body: bytes) -> Iterator[tuple[str, int, int]]:
    """(key, start, end) of every top-level value of `body`, a valid JSON object, in order of appearance.

    msgspec has already found each value's length, so a value is skipped by comparing bytes, not by scanning; only a key
    that is written twice is scanned.
    """
    known = _MEMBERS.decode(body)
    at = _skip(body, _skip(body, 0) + 1)
    while body[at] != 0x7D:
        key_end = _end_of(_STRING, body, at)
        key = msgspec.json.decode(body[at:key_end], type=str)
        start = _skip(body, _skip(body, key_end) + 1)
        raw = bytes(known[key])
        end = start + len(raw)
        if not (body.startswith(raw, start) and body[_skip(body, end)] in b",}"):
            end = _value_end(body, start)
        yield key, start, end
        at = _skip(body, end)
        if body[at] == 0x2C:
            at = _skip(body, at + 1)


def _skip(body: bytes, at: int) -> int:
    return _end_of(_SPACE, body, at)


def _end_of(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    match = pattern.match(body, at)
    if match is None:
        raise RequestRefused("the request body is not valid JSON", code="invalid_json")
    return match.end()


def _value_end(body: bytes, start: int) -> int:
    first = body[start : start + 1]
    if first not in (b"{", b"["):
        return _end_of(_STRING if first == b'"' else _SCALAR, body, start)
    depth = 0
    for match in _NESTING.finditer(body, start):
        mark = match.group()
        depth += (mark in (b"{", b"[")) - (mark in (b"}", b"]"))
        if depth == 0:
            return match.end()
    raise RequestRefused("the request body is not valid JSON", code="invalid_json")


def error_body(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """An error in OpenAI's shape."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def error_text(body: bytes) -> str | None:
    """The message of an error body in OpenAI's or Anthropic's shape; None where it has no such shape."""
    return message_of(value(body))


def message_of(decoded: Any) -> str | None:
    """The message of a decoded error, which both keep in `error.message`."""
    error = decoded.get("error") if isinstance(decoded, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else None if error is None else str(error)


def reported(event: Any) -> str:
    """The message of an error event, which some keep at its top; empty where it has none."""
    message = event.get("message") if isinstance(event, dict) else None
    return message_of(event) or (message if isinstance(message, str) else "")
