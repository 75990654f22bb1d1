"""Calls as JSON Lines: {"request": …, "response": …, "trimtab": …}, one call a line, both ways. Knows no files.

`request` and `response` are bodies of chat completions, completions, responses or messages, not streamed. `trimtab`
carries the counters, so that what was exported comes back the same; without it they are told from the bodies.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.store.formats import bodies
from trimtab.store.formats.drafting import Draft, check, check_scores, taken
from trimtab.store.formats.reading import Format, Reader, Reading, Taken
from trimtab.trace import Call, EncodedPayload, Record, Score, Trace

_MAX_SECONDS = 2**63 // 10**9


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. `scores` are the trace's, on its first call. The names below `scores` may stand in lines that others
    wrote; `timestamp` is in Unix seconds."""

    request: dict[str, msgspec.Raw] | None = None
    response: dict[str, msgspec.Raw] | None = None
    trimtab: Call | None = None
    scores: tuple[Score, ...] = ()
    trace_id: str = ""
    session: str = ""
    workflow: str = ""
    agent: str = ""
    user: str = ""
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


def _reader(reading: Reading) -> Reader:
    def read(text: bytes, number: int) -> list[Taken]:
        bodies.utf8(text)
        line = _DECODER.decode(text)
        check_scores(line.scores)
        if line.trimtab is not None:
            check(line.trimtab)
            held = None if line.request is None else EncodedPayload(line.trimtab.id, line.request, line.response)
            return [(Record(line.trimtab, held), line.scores)]
        if not bodies.has_prompt(line.request):
            raise FormatError('no "request" with "messages": give {"request": {...}, "response": {...}} on each line')
        return [told_from_bodies(line, number, reading)]

    return read


def told_from_bodies(line: Line, number: int, reading: Reading) -> Taken:
    """The call of a line without counters of its own."""
    request, response = line.request or {}, line.response
    # An answer's own id tells two equal calls apart; without one the line's number must.
    seed = hashlib.sha256() if bodies.text_of(response, "id") else hashlib.sha256(b"%d" % number)
    for body in (request, response or {}):
        for name, value in body.items():
            seed.update(name.encode())
            seed.update(value)
        seed.update(b"|")
    digest = seed.hexdigest()
    draft = Draft(
        source="import",
        text=b"",
        number=number,
        id=f"import-{digest[:24]}",
        trace_id=line.trace_id or digest[:32],
        span_id=digest[32:48],
        started_ns=_started_ns(line.timestamp, response, number),
        session=line.session,
        workflow=line.workflow,
        agent=line.agent,
        user=line.user,
        request=request,
        response=response,
        scores=line.scores,
    )
    bodies.told(draft)
    draft.end = bodies.end_of(draft)
    return taken(draft, reading)


def _started_ns(seconds: float | None, response: dict[str, msgspec.Raw] | None, number: int) -> int:
    """The line's own time, else the answer's `created`; else 1970, a millisecond a line, which keeps the order."""
    if seconds is None and response:
        held = bodies.value_of(response, "created") or bodies.value_of(response, "created_at")
        seconds = held if isinstance(held, int | float) and not isinstance(held, bool) else None
    if seconds is not None and math.isfinite(seconds) and 0 < seconds < _MAX_SECONDS:
        return int(seconds * 10**9)
    return number * 10**6


FORMAT = Format("openai", lambda names: "request" in names or "trimtab" in names, _reader)
