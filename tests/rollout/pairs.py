"""Pairs of answers for tests, as the gateway hands them over."""

import json

from trimtab.gateway import wire
from trimtab.gateway.attribution import Attribution
from trimtab.gateway.dialects.chat import CHAT
from trimtab.gateway.trial import Answered, Finished, Pair
from trimtab.trace import Call, EndState


def call(end=EndState.COMPLETE, status=200, **given):
    facts = {"id": "c", "trace_id": "t", "span_id": "s", "started_ns": 1, "duration_ms": 1.0, "endpoint": "e", **given}
    return Call(end=end, status=status, **facts)


def answered(said="yes", **given):
    """One answer; `said` is its text, its message, or (in another dialect) its whole body."""
    message = {"role": "assistant", "content": said} if isinstance(said, str) else said
    body = message if message is None or "role" not in message else {"choices": [{"message": message}]}
    return Answered(call(**given), json.dumps(body).encode() if body is not None else None)


def pair(baseline, candidate, again=None, dialect=CHAT, body=None):
    content = json.dumps(body or {"model": "m", "messages": [{"role": "user", "content": "?"}]}).encode()
    asked = Finished(
        call=baseline.call,
        body=content,
        head=wire.head(content),
        headers=(),
        who=Attribution("t" * 32, "s" * 16, session="a session"),
        dialect=dialect,
        query="",
        response=baseline.response,
        by_candidate=False,
    )
    return Pair(asked, baseline=baseline, candidate=candidate, again=again)
