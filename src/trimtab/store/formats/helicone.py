"""Helicone: requests as its export tool and its interface give them, in JSON or CSV.

Names: `HeliconeRequest` of /v1/request/query-clickhouse, and the columns of the tool @helicone/export.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.store.formats import bodies
from trimtab.store.formats.drafting import Draft, taken, time_ns
from trimtab.store.formats.reading import Format, Reader, Reading, Taken
from trimtab.store.formats.usage import raw_usage
from trimtab.trace import Score, json_value

# Properties by which its sessions and agents are named; Helicone-Session-Path is a path of steps.
_SESSION, _NAME, _PATH = "Helicone-Session-Id", "Helicone-Session-Name", "Helicone-Session-Path"


class _Row(msgspec.Struct):
    """What is read. In CSV every value is a text, and there is no request_id."""

    request_id: str = ""
    response_id: str | None = None
    request_created_at: str | float | None = None
    response_created_at: str | float | None = None
    response_status: float | None = None
    request_model: str | None = None
    response_model: str | None = None
    model: str | None = None
    model_override: str | None = None
    request_path: str | None = None
    target_url: str | None = None
    provider: str | None = None
    request_user_id: str | None = None
    prompt_id: str | None = None
    delay_ms: float | None = None
    latency: float | None = None
    time_to_first_token: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    reasoning_tokens: float | None = None
    prompt_cache_read_tokens: float | None = None
    prompt_cache_write_tokens: float | None = None
    cost: float | None = None
    costUSD: float | None = None  # noqa: N815 - the field's own name
    feedback_rating: bool | None = None
    scores: msgspec.Raw = msgspec.Raw(b"null")
    request_properties: msgspec.Raw = msgspec.Raw(b"null")
    properties: msgspec.Raw = msgspec.Raw(b"null")
    request_body: msgspec.Raw = msgspec.Raw(b"null")
    response_body: msgspec.Raw = msgspec.Raw(b"null")


_DECODER = msgspec.json.Decoder(_Row, strict=False)


def _reader(reading: Reading) -> Reader:
    def read(text: bytes, number: int) -> list[Taken]:
        bodies.utf8(text)
        return [_taken(_DECODER.decode(text), text, reading)]

    return read


def _taken(row: _Row, text: bytes, reading: Reading) -> Taken:
    identity = row.request_id or row.response_id or ""
    if not identity:
        raise FormatError("neither request_id nor response_id")
    properties = _texts(row.request_properties) or _texts(row.properties)
    session = properties.get(_SESSION, "")
    # Below 0 stand the tool's own marks of a call that never ended.
    status = int(row.response_status or 0)
    draft = Draft(
        source="helicone",
        text=text,
        id=identity,
        trace_id=session or identity,
        started_ns=time_ns(row.request_created_at),
        ended_ns=time_ns(row.response_created_at),
        duration_ms=row.delay_ms if row.delay_ms is not None else row.latency,
        ttft_ms=row.time_to_first_token or None,
        workflow=properties.get(_NAME, "") or row.prompt_id or "",
        agent=properties.get(_PATH, "").rstrip("/").rpartition("/")[2] or row.prompt_id or "",
        session=session,
        user=row.request_user_id or "",
        endpoint=row.target_url or row.provider or "",
        operation="embeddings" if "embeddings" in (row.request_path or "") else "chat",
        request_model=row.model_override or row.request_model or row.model or "",
        response_model=row.response_model or row.model or "",
        status=status if 100 <= status <= 599 else 200 if status == 0 else 500,
        error=f"status {status}" if status >= 400 or status < 0 else None,
        raw_usage=raw_usage(
            row.prompt_tokens,
            row.completion_tokens,
            read=row.prompt_cache_read_tokens,
            written=row.prompt_cache_write_tokens,
            reasoning=row.reasoning_tokens,
        ),
        logged_usd=row.cost if row.cost is not None else row.costUSD,
        request=bodies.body_of(row.request_body),
        response=bodies.body_of(row.response_body),
        scores=_scores(row),
        tags={name: value for name, value in properties.items() if not name.startswith("Helicone-")},
    )
    return taken(bodies.told(draft), reading)


def _texts(raw: msgspec.Raw) -> dict[str, str]:
    held = bodies.plain(raw)
    value = json_value(held) if held[:1] == b"{" else None
    return {name: str(one) for name, one in value.items() if one is not None} if isinstance(value, dict) else {}


def _scores(row: _Row) -> tuple[Score, ...]:
    """Feedback, and scores between 0 and 1; Helicone's own are whole numbers of any size, which are none here."""
    found = [] if row.feedback_rating is None else [Score("feedback", float(row.feedback_rating), "helicone")]
    held: Any = bodies.plain(row.scores)
    value = json_value(held) if held[:1] == b"{" else {}
    for name, number in value.items() if isinstance(value, dict) else ():
        if isinstance(number, int | float) and 0 <= number <= 1:
            found.append(Score(str(name), float(number), "helicone"))
    return tuple(found)


def _has(names: frozenset[str]) -> bool:
    return "request_created_at" in names and bool(names & {"request_id", "response_id", "request_body"})


FORMAT = Format("helicone", _has, _reader)
