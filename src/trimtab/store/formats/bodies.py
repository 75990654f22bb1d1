"""Bodies: what requests and answers of chat completions, completions, responses and messages say of their call.

They stay JSON texts; only the few members that are asked for are decoded.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.store.formats.drafting import Body, Draft
from trimtab.trace import EndState, json_value, members

_PROMPTS = ("messages", "input", "prompt")


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


_CHOICES = msgspec.json.Decoder(list[_Choice])
_STRING = msgspec.json.Decoder(str)


def body_of(raw: msgspec.Raw | None) -> Body | None:
    """The members of a body, which may be a text that holds its JSON; None where there is none."""
    text = b"" if raw is None else plain(raw)
    return (members(text) or None) if text[:1] == b"{" else None


def text_of(body: Body | None, name: str) -> str:
    """The member's string; '' where it is none."""
    raw = body.get(name) if body else None
    if raw is None or (held := bytes(raw))[:1] != b'"':
        return ""
    if b"\\" not in held:
        return held[1:-1].decode()
    value = json_value(held)
    return value if isinstance(value, str) else ""


def value_of(body: Body | None, name: str) -> Any:
    raw = body.get(name) if body else None
    return None if raw is None else json_value(raw)


def has_prompt(request: Body | None) -> bool:
    return request is not None and any(
        name in request and bytes(request[name])[:1] in (b"[", b'"') for name in _PROMPTS
    )


def finish_reason(response: Body | None) -> str | None:
    """Why the answer ended: the first choice's finish reason, a message's stop reason, a response's status."""
    if not response:
        return None
    if "choices" in response:
        try:
            choices = _CHOICES.decode(response["choices"])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return (choices[0].finish_reason or None) if choices else None
    if reason := text_of(response, "stop_reason"):
        return reason
    return text_of(response, "status") or None if "output" in response else None


def told(draft: Draft) -> Draft:
    """`draft` with what its bodies say filled in where it says nothing itself."""
    request, response = draft.request, draft.response
    draft.request_model = draft.request_model or text_of(request, "model")
    draft.response_model = draft.response_model or text_of(response, "model")
    draft.stream = draft.stream or bool(request and bytes(request.get("stream") or b"") == b"true")
    if response is not None:
        draft.finish_reason = draft.finish_reason or finish_reason(response)
        if draft.raw_usage is None and draft.usage is None:
            usage = value_of(response, "usage")
            draft.raw_usage = usage if isinstance(usage, dict) else None
    return draft


def end_of(draft: Draft) -> EndState:
    """By the bodies alone: an answer without a finish reason counts as cut, no answer as an upstream error."""
    if draft.finish_reason and draft.error is None and "error" not in (draft.response or ()):
        return EndState.COMPLETE
    if draft.response and "error" in draft.response and bytes(draft.response["error"]) != b"null":
        return EndState.UPSTREAM_ERROR
    if draft.finish_reason:
        return EndState.COMPLETE
    return EndState.CUT if draft.response else EndState.UPSTREAM_ERROR


def utf8(text: bytes) -> None:
    """FormatError where `text` is no UTF-8: what is passed over undecoded is not checked otherwise."""
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"not UTF-8: {error.reason} at byte {error.start}") from error


def plain(raw: msgspec.Raw) -> bytes:
    """The JSON text, or, where it is a string that holds JSON, that: exports keep objects as texts. A string that holds
    none stays what it is."""
    text = bytes(raw)
    if text[:1] == b'"':
        try:
            inner = _STRING.decode(text).strip()
            if inner[:1] in ("{", "["):
                encoded = inner.encode()
                msgspec.json.decode(encoded, type=msgspec.Raw)
                return encoded
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            pass
    return text


def members_of(raw: msgspec.Raw) -> Body | None:
    """The members of an object; None where it is none."""
    text = bytes(raw)
    return members(text) if text[:1] == b"{" else None
