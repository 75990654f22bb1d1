"""Recorded tool-calling traffic whose answers repeat what was asked: what a drafter can learn."""

import random

from trimtab.money import Usage
from trimtab.trace import Call, EndState, Payload, Trace

MS = 10**6
NAMES = ("anna", "boris", "carla", "dmitri", "elena", "farid")


def trace(number: int, seed: int = 0, usage: dict | None = None) -> Trace:
    """One session of one call, 200 ms after the one before it; each takes 500 ms."""
    chance = random.Random(f"{seed} {number}")
    name, wanted = chance.choice(NAMES), chance.randint(100, 999)
    session, agent = f"s{number}", ("sales", "triage")[number % 2]
    call = Call(
        id=f"{seed:04x}{number:028x}",
        trace_id=f"{seed:04x}{number:028x}",
        span_id=f"{number:016x}",
        started_ns=1_790_000_000 * 10**9 + (number + 100_000 * seed) * 200 * MS,
        duration_ms=500.0,
        end=EndState.COMPLETE,
        workflow="shop",
        agent=agent,
        session=session,
        request_model="m",
        response_model="m",
        usage=Usage(input_tokens=40, output_tokens=20),
        raw_usage=usage,
    )
    asked = {"model": "m", "messages": [{"role": "user", "content": f"order {wanted} for {name} please"}]}
    said = {"role": "assistant", "content": f"order {wanted} for {name} is booked, thank you {name}"}
    return Trace(call.id, (call,), {call.id: Payload(call.id, asked, {"choices": [{"message": said}]})})


def traces(count: int = 40, seed: int = 0, **more) -> list[Trace]:
    return [trace(number, seed, **more) for number in range(count)]


def drafted(taken: int, refused: int) -> dict:
    return {"completion_tokens_details": {"accepted_prediction_tokens": taken, "rejected_prediction_tokens": refused}}
