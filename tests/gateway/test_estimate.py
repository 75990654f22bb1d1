"""Tokens told from bytes, and the cost of streams that broke off."""

import base64
import json
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.upstream import TEXT, Script, chunk
from trimtab.gateway import estimate
from trimtab.money import Usage
from trimtab.trace import EndState

STREAM = {"model": "fake-model", "stream": True, "messages": [{"role": "user", "content": "hello there"}]}


def answer(*messages):
    return {"id": "x" * 99, "choices": [{"message": message, "finish_reason": None} for message in messages]}


@pytest.mark.parametrize(
    ("message", "size"),
    [
        ({"role": "assistant", "content": "12345678"}, 8),
        ({"content": None, "reasoning_content": "1234", "refusal": "12"}, 6),
        ({"content": "ä" * 4}, 8),
        ({"content": [{"type": "text", "text": "1234"}]}, 4),
        ({"tool_calls": [{"id": "call_1", "function": {"name": "find", "arguments": '{"a":1}'}}]}, 11),
    ],
)
def test_what_the_model_wrote_is_counted_and_nothing_else(message, size):
    assert estimate.usage(b"12345", answer(message)) == Usage(
        input_tokens=2, output_tokens=-(-size // 4), estimated=True
    )
    assert estimate.usage(b"", answer(message, message)).output_tokens == -(-2 * size // 4)


def test_a_picture_is_no_text():
    picture = base64.b64encode(bytes(range(256)) * 4_000).decode()
    asked = {"model": "m", "messages": [{"content": [{"image_url": {"url": f"data:image/png;base64,{picture}"}}]}]}
    told = estimate.usage(json.dumps(asked).encode(), None)
    assert 1_000 < told.input_tokens < 1_050 and told.output_tokens == 0
    asked["messages"].append({"content": [{"source": {"type": "base64", "data": picture}}]})
    assert 2_000 < estimate.usage(json.dumps(asked).encode(), None).input_tokens < 2_100


@given(st.binary(max_size=3_000), st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=8))
def test_any_request_and_any_answer_have_an_estimate(request_body, value):
    told = estimate.usage(request_body, {"choices": value})
    assert told.estimated and told.output_tokens >= 0
    assert told.input_tokens <= len(request_body) // 4 + 1 + 1_000


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_cut_stream_costs_what_was_sent_and_is_marked(gateway, end):
    gateway.upstream.script = Script(events=TEXT[:5], end=end, pause_s=0.02)
    _, headers, _ = gateway.ask(STREAM)
    call, payload = gateway.call(headers)
    text = payload.response["choices"][0]["message"]["content"]
    assert call.end is EndState.CUT and call.raw_usage is None and call.usage.estimated
    assert call.usage.input_tokens == -(-len(json.dumps(STREAM)) // 4)
    assert call.usage.output_tokens == -(-len(text) // 4) > 0
    assert call.cost_nanodollars == call.usage.input_tokens * 2_000 + call.usage.output_tokens * 8_000
    assert b"trimtab_usage_estimated_total{" in gateway.get("/metrics")[2]


def test_what_the_provider_counted_before_the_cut_is_taken_and_marked(gateway):
    """Some servers send the usage so far with every chunk."""
    usage = {"prompt_tokens": 20, "completion_tokens": 2}
    counted = [
        event.replace(b'"model"', b'"usage": ' + json.dumps(usage).encode() + b', "model"') for event in TEXT[:3]
    ]
    gateway.upstream.script = Script(events=counted)
    _, headers, _ = gateway.ask(STREAM)
    call, _ = gateway.call(headers)
    assert (call.end, call.raw_usage) == (EndState.CUT, usage)
    assert call.usage == Usage(input_tokens=20, output_tokens=2, estimated=True)


def test_an_error_inside_a_stream_is_counted(gateway):
    error = b'data: {"error": {"message": "no"}}\n\n'
    gateway.upstream.script = Script(events=[*TEXT[:4], error])
    _, headers, _ = gateway.ask(STREAM)
    call, _ = gateway.call(headers)
    assert call.end is EndState.UPSTREAM_ERROR and call.usage.estimated and call.cost_nanodollars


def test_a_client_that_left_still_cost_what_it_got(gateway):
    gateway.upstream.script = Script(events=[*TEXT[:4], *[chunk({"content": "more "})] * 200], pause_s=0.1)
    host, port = gateway.host.split(":")
    body = json.dumps(STREAM).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head + body)
        received = b""
        give_up = time.monotonic() + 10
        while b"may" not in received and time.monotonic() < give_up:
            received += client.recv(4096)
    trace_id = received.partition(b"x-trimtab-trace-id: ")[2].partition(b"\r\n")[0].decode()
    (call,) = gateway.trace(trace_id).calls
    assert call.end is EndState.CLIENT_GONE and call.usage.estimated
    assert call.usage.output_tokens > 0 and call.cost_nanodollars
