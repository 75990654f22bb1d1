"""Anthropic's messages: pairs of request and message, and the results of its message batches, one a line.

Names: anthropic 2.12, `Message` and `MessageBatchIndividualResponse`.
"""

from __future__ import annotations

import msgspec

from trimtab.errors import FormatError
from trimtab.store.formats import bodies, openai
from trimtab.store.formats.reading import Format, Reader, Reading, Taken


class _Result(msgspec.Struct):
    type: str = ""
    message: dict[str, msgspec.Raw] | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    """A pair may be called request and response, params and message, or body and message; a batch's result has
    `custom_id`, and its request, where someone put it beside it, `params`. A message alone has its own names."""

    request: dict[str, msgspec.Raw] | None = None
    params: dict[str, msgspec.Raw] | None = None
    response: dict[str, msgspec.Raw] | None = None
    message: dict[str, msgspec.Raw] | None = None
    result: _Result | None = None
    custom_id: str = ""
    type: str | None = None
    trace_id: str = ""
    session: str = ""
    workflow: str = ""
    agent: str = ""
    user: str = ""
    timestamp: float | None = None


_DECODER = msgspec.json.Decoder(_Line)
_BODY = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _reader(reading: Reading) -> Reader:
    def read(text: bytes, number: int) -> list[Taken]:
        bodies.utf8(text)
        line = _DECODER.decode(text)
        answer = line.response or line.message or (line.result.message if line.result else None)
        if answer is None and line.type == "message":
            answer = _BODY.decode(text)
        request = line.request or line.params
        if answer is None and line.result is not None:
            answer = {"error": line.result.error} if bytes(line.result.error) != b"null" else None
        if request is None and answer is None:
            raise FormatError(
                'neither a request nor a message: give {"request": {...}, "response": {...}} on each line'
            )
        if answer is not None and "usage" in answer and line.result is not None:
            answer = answer | {"usage": _at_batch_rate(answer["usage"])}
        told = openai.Line(
            request=request,
            response=answer,
            trace_id=line.trace_id,
            session=line.session,
            workflow=line.workflow,
            agent=line.agent,
            user=line.user,
            timestamp=line.timestamp,
        )
        return [openai.told_from_bodies(told, number, reading)]

    return read


def _at_batch_rate(usage: msgspec.Raw) -> msgspec.Raw:
    """The usage of a batch's result, which says so by its service tier; older ones leave it away."""
    held = bodies.members_of(usage)
    if held is None or "service_tier" in held:
        return usage
    return msgspec.Raw(msgspec.json.encode(held | {"service_tier": msgspec.Raw(b'"batch"')}))


def _has(names: frozenset[str]) -> bool:
    return ("custom_id" in names and "result" in names) or {"stop_reason", "usage"} <= names


FORMAT = Format("anthropic", _has, _reader)
