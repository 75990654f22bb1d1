"""Drafting: a Call and its bodies from what a log says of it, in whichever of its own words. Knows no file."""

from __future__ import annotations

import datetime
import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from trimtab import money
from trimtab.errors import FormatError
from trimtab.money import Usage
from trimtab.store.formats.reading import Reading, Taken
from trimtab.trace import Call, EncodedPayload, EndState, Record, Score, json_value

# Without a token count in the answer: this many characters are taken for one token.
CHARACTERS_A_TOKEN = 4
_MAX_INTEGER = 2**63 - 1
# What a call cost by the log's own account, in nano-dollars.
LOGGED_TAG = "logged_nanodollars"

Body = dict[str, msgspec.Raw]
_FRACTION = re.compile(r"\.(\d{1,9})")


class Draft(msgspec.Struct, kw_only=True):
    """What a log says of one call, in neutral words; what it does not say keeps its default.

    `text` is the piece of the log, of which an id is made where it gives none. Times: `started_ns` and `ended_ns` in
    Unix ns; `duration_ms` counts before `ended_ns`. `usage` None: told from `raw_usage`, else estimated from the
    bodies. `logged_usd` is the log's own cost: it counts where the price table knows no price.
    """

    source: str
    text: bytes
    number: int = 0
    id: str = ""
    trace_id: str = ""
    span_id: str = ""
    parent_id: str | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    duration_ms: float | None = None
    ttft_ms: float | None = None
    workflow: str = ""
    agent: str = ""
    session: str = ""
    user: str = ""
    tags: dict[str, str] = {}
    operation: str = "chat"
    endpoint: str = ""
    request_model: str = ""
    response_model: str = ""
    stream: bool = False
    status: int = 200
    end: EndState | None = None
    finish_reason: str | None = None
    error: str | None = None
    usage: Usage | None = None
    raw_usage: dict[str, Any] | None = None
    logged_usd: float | None = None
    request: Body | None = None
    response: Body | None = None
    scores: tuple[Score, ...] = ()


def taken(draft: Draft, reading: Reading) -> Taken:
    """The record of `draft`; FormatError where a number in it cannot be right."""
    digest = hashlib.sha256(b"%d " % draft.number + draft.text).hexdigest() if not draft.id else ""
    identity = draft.id or f"import-{digest[:24]}"
    usage, raw = _usage(draft)
    models = (draft.response_model, draft.request_model)
    cost, priced_as = reading.cost(models, usage)
    tags = {"source": draft.source, **draft.tags}
    table = reading.prices.version if priced_as else ""
    if draft.logged_usd is not None and math.isfinite(draft.logged_usd) and 0 <= draft.logged_usd < 1e9:
        logged = round(draft.logged_usd * 1e9)
        tags[LOGGED_TAG] = str(logged)
        if cost is None:
            cost, table = logged, draft.source
    started_ns = draft.started_ns if draft.started_ns is not None else draft.number * 10**6
    call = Call(
        id=identity,
        trace_id=draft.trace_id or identity,
        span_id=draft.span_id or identity[-16:],
        parent_id=draft.parent_id or None,
        started_ns=started_ns,
        duration_ms=_duration_ms(draft, started_ns, reading),
        ttft_ms=draft.ttft_ms if draft.ttft_ms is not None and draft.ttft_ms >= 0 else None,
        end=draft.end or _end(draft),
        workflow=draft.workflow,
        agent=draft.agent,
        session=draft.session,
        user=draft.user,
        tags=tags,
        operation=draft.operation,
        endpoint=draft.endpoint,
        request_model=draft.request_model,
        response_model=draft.response_model,
        stream=draft.stream,
        status=draft.status,
        finish_reason=draft.finish_reason,
        error=draft.error,
        usage=usage,
        raw_usage=raw,
        cost_nanodollars=cost,
        price_table=table,
        priced_as=priced_as,
    )
    check(call)
    check_scores(draft.scores)
    bodies = None
    if draft.request is not None or draft.response is not None:
        bodies = EncodedPayload(identity, draft.request or {}, draft.response)
    return Record(call, bodies), draft.scores


def _usage(draft: Draft) -> tuple[Usage, dict[str, Any] | None]:
    if draft.usage is not None:
        return draft.usage, draft.raw_usage
    raw = draft.raw_usage
    if raw is not None:
        refuse_negative(raw)
    usage = money.usage_of(raw)
    if usage is not None and (usage.input_tokens or usage.output_tokens):
        return usage, raw
    return estimated(draft.request, draft.response), None


def refuse_negative(raw: Mapping[str, Any]) -> None:
    for name, count in raw.items():
        if type(count) in (int, float) and count < 0 and name.endswith("tokens"):
            raise FormatError(f"a negative count: {name}")


def estimated(request: Body | None, response: Body | None) -> Usage:
    """Usage told from the bodies' length: none where there is none."""
    asked = [json_value(request[name]) for name in ("system", "instructions", "messages", "input", "prompt", "tools")
             if name in request] if request else []  # fmt: skip
    answered: list[Any] = []
    for name in ("choices", "content", "output"):
        if response and name in response:
            held = json_value(response[name])
            answered.append([_said(one) for one in held] if name == "choices" and isinstance(held, list) else held)
    return Usage(input_tokens=tokens_in(asked), output_tokens=tokens_in(answered), estimated=True)


def _said(choice: Any) -> Any:
    return (choice.get("message") or choice.get("text")) if isinstance(choice, dict) else None


def _duration_ms(draft: Draft, started_ns: int, reading: Reading) -> float:
    duration = draft.duration_ms
    if duration is None and draft.ended_ns is not None:
        duration = (draft.ended_ns - started_ns) / 1e6
    if duration is None or not math.isfinite(duration):
        return 0.0
    if duration < 0:
        reading.report.remark("ends before it starts: its duration is taken as 0")
        return 0.0
    return duration


def _end(draft: Draft) -> EndState:
    if draft.error or draft.status >= 400:
        return EndState.UPSTREAM_ERROR
    return EndState.COMPLETE


def check(call: Call) -> None:
    """FormatError where a number would not fit the store."""
    usage = call.usage
    counts = (
        *(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens),
        *(usage.reasoning_tokens, usage.cache_write_1h_tokens, call.cost_nanodollars or 0, call.status),
    )
    if min(counts) < 0 or max(counts) > _MAX_INTEGER or call.started_ns > _MAX_INTEGER:
        raise FormatError("a count or a time is out of range")
    if call.started_ns < 0:
        raise FormatError("the call starts before 1970")
    if not (call.id and call.trace_id):
        raise FormatError("the call has no id or no trace_id")


def check_scores(scores: tuple[Score, ...]) -> None:
    for score in scores:
        if not 0 <= score.value <= 1:
            raise FormatError(f"score '{score.name}' is {score.value}: a score is between 0 and 1")


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


def time_ns(held: object) -> int | None:
    """Unix ns of a time as logs write it: ISO 8601 (with a blank or a T, a zone or none, which is UTC, and any number
    of decimals), or a number of seconds, milliseconds, microseconds or nanoseconds, told by its size. None: none."""
    if isinstance(held, str) and held:
        try:
            return _iso_ns(held)
        except (ValueError, OverflowError):
            held = _number(held)
    if isinstance(held, bool) or not isinstance(held, int | float) or not math.isfinite(held) or held <= 0:
        return None
    for least, factor in ((1e17, 1), (1e14, 10**3), (1e11, 10**6)):
        if held >= least:
            return int(held) * factor if isinstance(held, int) else int(held * factor)
    return int(held * 10**9)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FormatError(f"no time: '{text[:40]}'") from None


_ZERO = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SECOND = datetime.timedelta(seconds=1)


def _iso_ns(text: str) -> int:
    fraction = 0
    if found := _FRACTION.search(text):
        fraction = int(found.group(1).ljust(9, "0"))
        text = text[: found.start()] + text[found.end() :]
    moment = datetime.datetime.fromisoformat(text.strip().removesuffix(" UTC"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return (moment - _ZERO) // _SECOND * 10**9 + fraction
