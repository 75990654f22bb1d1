"""The oracle's sessions as a gateway would have recorded them: traffic without a model, for levers to be tried on."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.arena.dealership.agents import AGENTS
from trimtab.arena.tuning import corpus
from trimtab.trace import Call, EndState, Payload, Trace


def traces(split: str, sessions: int, seed: int, model: str) -> Iterator[Trace]:
    """A trace and a session for each agent's part of `sessions` solved sessions; `model` is the one asked for."""
    for number, segment in enumerate(corpus.segments(split, sessions, seed)):
        schemas = AGENTS[segment.agent].schemas()
        calls, payloads = [], {}
        for place, message in enumerate(segment.messages):
            if message["role"] != "assistant":
                continue
            name = f"{number:016x}{place:016x}"
            calls.append(
                Call(
                    id=name,
                    trace_id=f"{number:032x}",
                    span_id=f"{place:016x}",
                    started_ns=1_790_000_000 * 10**9 + number * 10**9 + place,
                    duration_ms=1.0,
                    end=EndState.COMPLETE,
                    workflow="dealership",
                    agent=segment.agent,
                    session=f"s{number}",
                    request_model=model,
                )
            )
            request = {"model": model, "messages": segment.messages[:place], "tools": schemas}
            answer = {"model": model, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
            payloads[name] = Payload(name, request, answer)
        yield Trace(f"{number:032x}", tuple(calls), payloads)
