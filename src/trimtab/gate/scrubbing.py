"""Scrubbing: takes secrets out of answers before a run's folder holds them."""

from __future__ import annotations

import json

import msgspec

from trimtab.evals.answer import Answer, ToolCall
from trimtab.evals.replay import Outcome
from trimtab.gate.journal import Answered
from trimtab.store.redaction import scrub_text


def scrubbed(answered: Answered) -> Answered:
    """The same without secrets in its texts. Scores are given before."""
    return Answered(
        answered.place,
        answered.cluster,
        tuple(map(_outcome, answered.baseline)),
        tuple(map(_outcome, answered.candidate)),
        tuple(map(_outcome, answered.again)),
    )


def _outcome(outcome: Outcome) -> Outcome:
    held = outcome.answer
    clean = Answer(
        text=scrub_text(held.text),
        tool_calls=tuple(map(_call, held.tool_calls)),
        finish_reason=held.finish_reason,
        refusal=scrub_text(held.refusal),
        tokens=held.tokens,
    )
    if clean.text != held.text:
        clean = msgspec.structs.replace(clean, tokens=())  # a secret stands in them piece by piece
    return msgspec.structs.replace(
        outcome, answer=clean, reason=scrub_text(outcome.reason), error=scrub_text(outcome.error)
    )


def _call(call: ToolCall) -> ToolCall:
    text = json.dumps(call.arguments, ensure_ascii=False) if call.arguments else ""
    clean, malformed = scrub_text(text), scrub_text(call.malformed)
    if clean == text and malformed == call.malformed:
        return call
    try:
        arguments = json.loads(clean) if clean else call.arguments
    except ValueError:
        return ToolCall(call.name, None, clean)
    return ToolCall(call.name, arguments, malformed)
