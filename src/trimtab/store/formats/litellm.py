"""LiteLLM's spend logs: rows of its table LiteLLM_SpendLogs, as JSON or CSV. Knows no database.

Names: `model LiteLLM_SpendLogs` of the proxy's schema.prisma, 1.83 and litellm-proxy-extras 0.4.110. Without
`store_prompts_in_spend_logs` a row has no bodies.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.money import Usage
from trimtab.store.formats import bodies
from trimtab.store.formats.drafting import Body, Draft, taken, time_ns
from trimtab.store.formats.reading import Format, Reader, Reading, Taken
from trimtab.store.formats.usage import raw_usage
from trimtab.trace import CACHE_TAG, EndState, json_value

_OPERATIONS = (("embedding", "embeddings"), ("text_completion", "text_completion"), ("image", "image"))


class _Row(msgspec.Struct):
    """The columns that are read. In CSV every one is a text."""

    request_id: str
    call_type: str | None = None
    spend: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    startTime: str | float | None = None  # noqa: N815 - the column's own name
    endTime: str | float | None = None  # noqa: N815
    completionStartTime: str | float | None = None  # noqa: N815
    request_duration_ms: float | None = None
    model: str | None = None
    model_group: str | None = None
    custom_llm_provider: str | None = None
    api_base: str | None = None
    user: str | None = None
    end_user: str | None = None
    team_id: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    status: str | None = None
    cache_hit: str | bool | None = None
    metadata: msgspec.Raw = msgspec.Raw(b"null")
    request_tags: msgspec.Raw = msgspec.Raw(b"null")
    messages: msgspec.Raw = msgspec.Raw(b"null")
    response: msgspec.Raw = msgspec.Raw(b"null")
    proxy_server_request: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct):
    error_code: str | int | None = None
    error_class: str | None = None
    error_message: str | None = None


class _Metadata(msgspec.Struct):
    usage_object: dict[str, Any] | None = None
    additional_usage_values: dict[str, Any] | None = None
    error_information: _Error | None = None
    user_api_key_alias: str | None = None
    user_api_key_team_alias: str | None = None
    attempted_retries: int | None = None
    litellm_overhead_time_ms: float | None = None


_DECODER = msgspec.json.Decoder(_Row, strict=False)
_METADATA = msgspec.json.Decoder(_Metadata, strict=False)
_STRINGS = msgspec.json.Decoder(list[Any])


def _reader(reading: Reading) -> Reader:
    def read(text: bytes, number: int) -> list[Taken]:
        bodies.utf8(text)
        return [_taken(_DECODER.decode(text), text, reading)]

    return read


def _taken(row: _Row, text: bytes, reading: Reading) -> Taken:
    metadata = _metadata(row.metadata)
    started = time_ns(row.startTime)
    request, response = _request(row), bodies.body_of(row.response)
    first = time_ns(row.completionStartTime)
    failed = row.status == "failure"
    error = metadata.error_information if failed else None
    is_hit = str(row.cache_hit).lower() == "true"
    draft = Draft(
        source="litellm",
        text=text,
        id=row.request_id,
        trace_id=row.session_id or row.request_id,
        started_ns=started,
        ended_ns=time_ns(row.endTime),
        duration_ms=row.request_duration_ms,
        workflow=metadata.user_api_key_team_alias or row.team_id or "",
        agent=row.agent_id or metadata.user_api_key_alias or "",
        session=row.session_id or "",
        user=row.end_user or row.user or "",
        tags=_tags(row, is_hit),
        operation=next((name for mark, name in _OPERATIONS if mark in (row.call_type or "")), "chat"),
        endpoint=row.api_base or row.custom_llm_provider or "",
        request_model=row.model_group or row.model or "",
        response_model=row.model or "",
        status=_status(error) if failed else 200,
        error=_message(error) if failed else None,
        end=EndState.UPSTREAM_ERROR if failed else None,
        raw_usage=_usage(row, metadata),
        # A hit of LiteLLM's own cache cost nothing.
        logged_usd=0.0 if is_hit else row.spend,
        request=request,
        response=response,
    )
    if draft.raw_usage is None:
        draft.usage = Usage()
    bodies.told(draft)
    if draft.stream and first is not None and started is not None:
        draft.ttft_ms = (first - started) / 1e6
    record, scores = taken(draft, reading)
    if is_hit:
        record = msgspec.structs.replace(record, call=msgspec.structs.replace(record.call, cost_nanodollars=0))
    return record, scores


def _metadata(raw: msgspec.Raw) -> _Metadata:
    held = bodies.plain(raw)
    try:
        return _METADATA.decode(held) if held[:1] == b"{" else _Metadata()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _Metadata()


def _usage(row: _Row, metadata: _Metadata) -> dict[str, Any] | None:
    """The provider's object where the row keeps it; else the counts, with what the row adds to them."""
    if held := metadata.usage_object:
        return held
    made = raw_usage(row.prompt_tokens, row.completion_tokens)
    return None if made is None else {**(metadata.additional_usage_values or {}), **made}


def _request(row: _Row) -> Body | None:
    """The client's own request, where it is kept; else the messages, which older versions keep apart."""
    if (request := bodies.body_of(row.proxy_server_request)) is not None:
        return request
    messages = bodies.plain(row.messages)
    if messages[:1] != b"[" or messages.strip() == b"[]":
        return None
    return {"model": msgspec.Raw(msgspec.json.encode(row.model or "")), "messages": msgspec.Raw(messages)}


def _tags(row: _Row, is_hit: bool) -> dict[str, str]:
    tags = {CACHE_TAG: "hit"} if is_hit else {}
    held = bodies.plain(row.request_tags)
    given = json_value(held) if held[:1] == b"[" else []
    if isinstance(given, list):
        tags |= {"request_tags": ", ".join(str(tag) for tag in given[:20])} if given else {}
    return tags


def _status(error: _Error | None) -> int:
    code = str(error.error_code or "") if error else ""
    return int(code) if code.isdecimal() and len(code) == 3 else 500


def _message(error: _Error | None) -> str:
    return ((error.error_message or error.error_class) if error else None) or "failed"


FORMAT = Format(
    "litellm", lambda names: {"request_id", "call_type"} <= names and bool(names & {"spend", "startTime"}), _reader
)
