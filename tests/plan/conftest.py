"""A small dealership's traces, written by hand so that every number can be checked on paper."""

import json

import pytest

from trimtab.money import Usage
from trimtab.trace import Call, EndState, Payload, Score, Trace

SECOND = 1_000_000_000


def call(name, start_s, duration_s, **fields):
    """A call that starts `start_s` seconds into the day and lasts `duration_s`."""
    defaults = {"trace_id": "t1", "span_id": name, "end": EndState.COMPLETE, "session": "s1", "agent": "triage"}
    times = {"started_ns": int(start_s * SECOND), "duration_ms": duration_s * 1000}
    return Call(id=name, **{**defaults, **times, **fields})


def tool_call(call_id, name, **arguments):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def payload(call_id, messages, answer="", tools=()):
    """A chat request and its answer: text, or the tool calls of `tools`."""
    message = {"role": "assistant", "content": answer or None, "tool_calls": list(tools)}
    request = {"model": "dealer-teacher", "messages": messages}
    return Payload(call_id, request, {"choices": [{"index": 0, "message": message}]})


@pytest.fixture
def session():
    """Triage hands over; sales looks a car up twice, the second time with an error, and answers; then a failure."""
    user = {"role": "user", "content": "a red car please"}
    hand = tool_call("h1", "transfer_to_sales", reason="buy")
    look = tool_call("a1", "find_vehicles", colour="red", limit=2)
    again = {"id": "a2", "type": "function"}
    again["function"] = {"name": "find_vehicles", "arguments": '{"limit":2, "colour":"red"}'}
    history = [user, {"role": "assistant", "tool_calls": [look]}]
    history.append({"role": "tool", "tool_call_id": "a1", "content": '{"vehicles": []}'})
    longer = [*history, {"role": "assistant", "tool_calls": [again]}]
    longer.append({"role": "tool", "tool_call_id": "a2", "content": '{"error": "busy"}'})
    calls = (
        call("c1", 0, 1, ttft_ms=400, cost_nanodollars=100, usage=Usage(100, 10, 40)),
        call("c2", 1.5, 1, agent="sales", ttft_ms=600, cost_nanodollars=300, usage=Usage(200, 20)),
        call("c3", 3, 1, agent="sales", ttft_ms=500, cost_nanodollars=400, usage=Usage(300, 20)),
        call("c4", 6, 2, agent="sales", ttft_ms=1000, cost_nanodollars=200, usage=Usage(400, 50)),
        call("c5", 10, 1, agent="sales", end=EndState.CUT, usage=Usage(400, 5), cost_nanodollars=None),
    )
    payloads = [
        payload("c1", [user], tools=[hand]),
        payload("c2", [user], tools=[look]),
        payload("c3", history, tools=[again]),
        payload("c4", longer, "Nothing red today."),
        payload("c5", [*longer, user]),
    ]
    return Trace("t1", calls, {one.call_id: one for one in payloads}, (Score("success", 1.0, "oracle"),))
