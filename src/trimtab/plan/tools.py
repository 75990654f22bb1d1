"""What the tools did to a service: calls, errors, seconds, the context their results fill, hand-offs between agents."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from trimtab.plan.evidence import shown
from trimtab.plan.timeline import Exchange, Segment, Stage

HANDOFF = "transfer_to_"


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    """One tool: `seconds` from the answer that asked for it to the session's next request (tool + client time; tools
    asked for together share them evenly). `context_tokens` estimates the input tokens its results filled in all
    later requests: their share of the request's bytes times its input tokens."""

    tool: str
    calls: int
    share: float
    errors: int
    seconds: float
    context_tokens: int
    repeats: int


class Handoff(msgspec.Struct, frozen=True):
    """`count` times `source` called the tool `transfer_to_<target>`."""

    source: str
    target: str
    count: int


def uses(sessions: Mapping[str, list[Exchange]], paths: list[list[Segment]]) -> tuple[ToolUse, ...]:
    counts: Counter[str] = Counter()
    repeats: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    context: Counter[str] = Counter()
    for session in sessions.values():
        asked = [call for one in session for call in one.asked]
        counts.update(call.name for call in asked)
        for (name, _), times in Counter((call.name, call.arguments) for call in asked).items():
            repeats[name] += times - 1
        failed, filled = _results(session)
        errors.update(failed)
        context.update(filled)
    seconds = _tool_seconds(paths)
    total = counts.total()
    rows = [
        ToolUse(
            tool=shown(name),
            calls=calls,
            share=calls / total,
            errors=errors[name],
            seconds=seconds.get(name, 0.0),
            context_tokens=context[name],
            repeats=repeats[name],
        )
        for name, calls in counts.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.calls, row.tool)))


def _results(session: list[Exchange]) -> tuple[Counter[str], Counter[str]]:
    """By tool: error results, and estimated input tokens that its results filled.

    Agents send their whole history each time, so a result is judged once: when it first answers a call still open.
    """
    errors: Counter[str] = Counter()
    context: Counter[str] = Counter()
    opened: dict[str, str] = {}
    for one in session:
        if one.bodies is not None and one.bodies.size:
            per_byte = one.call.usage.input_tokens / one.bodies.size
            named = {call.id: call.name for piece in one.pieces for call in piece.calls}
            for piece in one.pieces:
                if piece.role == "tool":
                    first = opened.pop(piece.call_id, None)
                    name = named.get(piece.call_id) or first
                    if name is not None:
                        context[name] += round(piece.size * per_byte)
                        errors[name] += first is not None and piece.failed
        opened.update((call.id, call.name) for call in one.asked)
    return errors, context


def _tool_seconds(paths: list[list[Segment]]) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for path in paths:
        for segment in path:
            if segment.stage is Stage.TOOLS:
                for call in segment.exchange.asked:
                    seconds[call.name] += segment.seconds / len(segment.exchange.asked)
    return seconds


def handoffs(exchanges: Iterable[Exchange]) -> tuple[Handoff, ...]:
    counts = Counter(
        (one.call.agent, call.name.removeprefix(HANDOFF))
        for one in exchanges
        for call in one.asked
        if call.name.startswith(HANDOFF)
    )
    return tuple(Handoff(shown(source), shown(target), count) for (source, target), count in counts.most_common())
