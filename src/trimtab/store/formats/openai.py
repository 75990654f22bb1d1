"""Calls as JSON Lines: {"request": …, "response": …, "trimtab": …}, one call a line, both ways. Knows no files.

`request` and `response` are the bodies in OpenAI's plain (not streamed) chat-completions shape. `trimtab` carries the
counters, so that what was exported comes back the same; without it they are told from the bodies.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import msgspec

from trimtab import money
from trimtab.errors import FormatError
from trimtab.money import PriceTable, Usage
from trimtab.trace import Call, EndState, Payload, Record, Score, Trace

# Without a token count in the answer: this many characters are taken for one token.
CHARACTERS_A_TOKEN = 4
_MAX_INTEGER = 2**63 - 1


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. `scores` are the trace's, on its first call. The names below `scores` may stand in lines that others
    wrote; `timestamp` is in Unix seconds."""

    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    trimtab: Call | None = None
    scores: tuple[Score, ...] = ()
    trace_id: str = ""
    session: str = ""
    workflow: str = ""
    agent: str = ""
    timestamp: float | None = None


_DECODER = msgspec.json.Decoder(Line)


def lines_of(trace: Trace) -> Iterator[bytes]:
    """The lines of `trace`, each ending in a newline."""
    scores = trace.scores
    for call in trace.calls:
        payload = trace.payloads.get(call.id)
        request, response = (payload.request, payload.response) if payload else (None, None)
        line: dict[str, Any] = {"request": request, "response": response, "trimtab": call}
        if scores:
            line["scores"] = scores
            scores = ()
        yield msgspec.json.encode(line) + b"\n"


def record_of(text: bytes, number: int, prices: PriceTable) -> tuple[Record, tuple[Score, ...]]:
    """The call on line `number` (from 1) and the scores of its trace; FormatError says what is wrong with it."""
    try:
        line = _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(f"not a call: {error}") from error
    except RecursionError as error:
        raise FormatError("nested too deeply") from error
    check_scores(line.scores)
    if line.trimtab is not None:
        check(line.trimtab)
        body = None if line.request is None else Payload(line.trimtab.id, line.request, line.response)
        return Record(line.trimtab, body), line.scores
    if line.request is None or not isinstance(line.request.get("messages"), list):
        raise FormatError('no "request" with "messages": give {"request": {...}, "response": {...}} on each line')
    return _told_from_bodies(line, line.request, number, prices), line.scores


def check(call: Call) -> None:
    """FormatError where a number would not fit the store."""
    usage = call.usage
    counts = (
        *(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens),
        *(usage.reasoning_tokens, usage.cache_write_1h_tokens, call.cost_nanodollars or 0, call.status),
    )
    if not all(-_MAX_INTEGER <= count <= _MAX_INTEGER for count in (*counts, call.started_ns)) or min(counts) < 0:
        raise FormatError("a count or a time is out of range")
    if call.started_ns < 0:
        raise FormatError("the call starts before 1970")
    if not (call.id and call.trace_id):
        raise FormatError("the call has no id or no trace_id")


def check_scores(scores: tuple[Score, ...]) -> None:
    for score in scores:
        if not 0 <= score.value <= 1:
            raise FormatError(f"score '{score.name}' is {score.value}: a score is between 0 and 1")


def _told_from_bodies(line: Line, request: dict[str, Any], number: int, prices: PriceTable) -> Record:
    response = line.response
    answer_id = _text(response, "id")
    # An answer's own id tells two equal calls apart; without one the line's number must.
    seed = (request, response) if answer_id else (request, response, number)
    digest = hashlib.sha256(msgspec.json.encode(seed, order="sorted")).hexdigest()
    usage, raw = usage_of(request, response)
    model = _text(request, "model")
    served = _text(response, "model") or model
    cost = prices.cost(served, usage) or prices.cost(model, usage)
    call = Call(
        id=f"import-{digest[:24]}",
        trace_id=line.trace_id or digest[:32],
        span_id=digest[32:48],
        started_ns=_started_ns(line, response, number),
        duration_ms=0.0,
        end=EndState.COMPLETE if finish_reason(response) else EndState.CUT if response else EndState.UPSTREAM_ERROR,
        workflow=line.workflow,
        agent=line.agent,
        session=line.session,
        request_model=model,
        response_model=_text(response, "model"),
        stream=request.get("stream") is True,
        finish_reason=finish_reason(response),
        usage=usage,
        raw_usage=raw,
        cost_nanodollars=cost.nanodollars if cost else None,
        price_table=cost.table if cost else "",
        tags={"source": "import"},
    )
    check(call)
    return Record(call, Payload(call.id, request, response))


def _started_ns(line: Line, response: dict[str, Any] | None, number: int) -> int:
    """The line's own time, else the answer's `created`; else 1970, a millisecond a line, which keeps the order."""
    created = response.get("created") if response else None
    seconds = line.timestamp if line.timestamp is not None else created
    if isinstance(seconds, int | float) and math.isfinite(seconds) and 0 < seconds < _MAX_INTEGER // 10**9:
        return int(seconds * 10**9)
    return number * 10**6


def finish_reason(response: dict[str, Any] | None) -> str | None:
    """The first choice's finish reason; None where there is none."""
    choices = response.get("choices") if response else None
    first = choices[0] if isinstance(choices, list) and choices else None
    reason = first.get("finish_reason") if isinstance(first, dict) else None
    return reason if isinstance(reason, str) and reason else None


def usage_of(request: dict[str, Any], response: dict[str, Any] | None) -> tuple[Usage, dict[str, Any] | None]:
    """Usage as the answer gives it, and its raw object; else estimated from the bodies' length, and None."""
    raw = response.get("usage") if response else None
    usage = money.usage_of(raw)
    if usage is not None and usage.input_tokens + usage.output_tokens:
        return usage, raw
    choices = response.get("choices") if response else None
    answers = (
        [choice.get("message") for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    )
    asked = [*request.get("messages", ()), *(request.get("tools") or ())]
    return Usage(input_tokens=tokens_in(asked), output_tokens=tokens_in(answers), estimated=True), None


def tokens_in(values: list[Any]) -> int:
    """Estimated tokens: the characters of all strings in `values` (contents, tool names and arguments, not the keys)
    divided by CHARACTERS_A_TOKEN, rounded up."""
    characters = 0
    pending: list[Any] = list(values)
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return math.ceil(characters / CHARACTERS_A_TOKEN)


def _text(body: dict[str, Any] | None, name: str) -> str:
    value = body.get(name) if body else None
    return value if isinstance(value, str) else ""
