"""Recorded calls of an agent with tools: asked, it looks up, asks for the word, books, and says so."""

import json
import random

from trimtab.trace import Call, EndState, Payload, Score, Trace

DAYS = ["monday", "tuesday", "friday"]
THINGS = ["tyres", "brakes", "lights"]
WAYS = ["I need new {t} on {d}", "could you do my {t}, {d} is fine", "{t} please, best on {d}", "my {t} are bad, {d}?"]
PARAMETERS = {"type": "object", "properties": {"thing": {"type": "string"}, "day": {"type": "string"}}}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": PARAMETERS}}
    for name in ("check", "book", "transfer_to_sales")
]
SYSTEM = {"role": "system", "content": "You are the workshop's desk."}


def call(name, **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": function}]}


def said(text):
    return {"role": "assistant", "content": text}


def talk(chance, number):
    thing, day = chance.choice(THINGS), chance.choice(DAYS)
    return [
        SYSTEM,
        {"role": "user", "content": f"{chance.choice(WAYS).format(t=thing, d=day)} (order {number})"},
        call("check", thing=thing, day=day),
        {"role": "tool", "tool_call_id": "c1", "content": '{"free": true}'},
        said(f"Shall I book {thing} on {day}?"),
        {"role": "user", "content": "yes"},
        call("book", thing=thing, day=day),
        {"role": "tool", "tool_call_id": "c1", "content": '{"done": true}'},
        said(f"Booked: {thing} on {day}."),
    ]


def traces(count=40, seed=3, **changes):
    """One trace a session, a call for each of its answers; `changes` are fields of every call."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        messages = talk(chance, 1000 + number)
        places = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
        calls, payloads = [], {}
        for place in places:
            name = f"{number:028x}{place:04x}"
            fields = {"end": EndState.COMPLETE, "endpoint": "old", "agent": "desk", "request_model": "m", **changes}
            calls.append(
                Call(
                    id=name, trace_id=f"{number:032x}", span_id=f"{number:016x}", duration_ms=9.0,
                    started_ns=1_790_000_000 * 10**9 + number * 10**9 + place, session=f"s{number}", **fields,
                )
            )  # fmt: skip
            answer = messages[place]
            finish = "tool_calls" if answer.get("tool_calls") else "stop"
            response = {"model": "m", "choices": [{"index": 0, "message": answer, "finish_reason": finish}]}
            payloads[name] = Payload(name, {"model": "m", "messages": messages[:place], "tools": TOOLS}, response)
        scores = (Score("success", float(number % 10 != 0), "oracle"),)
        made.append(Trace(f"{number:032x}", tuple(calls), payloads, scores))
    return made
