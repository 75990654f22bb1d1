"""Where the prelude of a stream ends, in three dialects, and what an error event becomes that comes before it."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.gateway.upstream import DONE, TEXT, TOOLS, USAGE_CHUNK
from trimtab.gateway.opening import Sign, refusal, sign


def event(value, name=None):
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(**held):
    return event({"choices": [{"index": 0, "delta": held, "finish_reason": None}]})


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (b": ping\n\n", Sign.PRELUDE),
        (b"event: x\n\n", Sign.PRELUDE),
        (b"data: {broken\n\n", Sign.PRELUDE),
        (TEXT[0], Sign.PRELUDE),
        (TEXT[1], Sign.CONTENT),
        (TEXT[-1], Sign.CONTENT),
        (TOOLS[0], Sign.CONTENT),
        (USAGE_CHUNK, Sign.PRELUDE),
        (DONE, Sign.END),
        (delta(role="assistant", content=None, refusal=None, tool_calls=[]), Sign.PRELUDE),
        (delta(reasoning_content="Hm"), Sign.CONTENT),
        (event({"choices": [{"text": ""}]}), Sign.PRELUDE),
        (event({"choices": [{"text": "a"}]}), Sign.CONTENT),
        (event({"error": {"message": "m"}}), Sign.ERROR),
        (event({"type": "message_start", "message": {}}, "message_start"), Sign.PRELUDE),
        (event({"type": "ping"}, "ping"), Sign.PRELUDE),
        (event({"type": "content_block_delta", "delta": {"text": "a"}}, "content_block_delta"), Sign.CONTENT),
        (event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}), Sign.CONTENT),
        (event({"type": "error", "error": {"type": "overloaded_error"}}, "error"), Sign.ERROR),
        (event({"type": "response.created", "response": {"error": None}}), Sign.PRELUDE),
        (event({"type": "response.output_text.delta", "delta": "a"}), Sign.CONTENT),
        (event({"type": "response.failed", "response": {"error": {"message": "m"}}}), Sign.ERROR),
        (event({"something": "new"}), Sign.CONTENT),
    ],
)
def test_the_prelude_ends_with_the_first_content(given_, expected):
    assert sign(given_) is expected


@pytest.mark.parametrize(
    ("value", "status", "message"),
    [
        ({"error": {"message": "m", "code": 503}}, 503, "m"),
        ({"error": {"message": "m", "code": 7, "type": "rate_limit_error"}}, 429, "m"),
        ({"error": {"message": "m", "code": "rate_limit_exceeded"}}, 429, "m"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, 529, "m"),
        ({"error": {"message": "m", "code": "odd"}}, 502, "m"),
        ({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "m"}}}, 502, "m"),
    ],
)
def test_an_error_event_becomes_an_answer_with_its_status(value, status, message):
    got, body = refusal(event(value))
    assert (got, json.loads(body)["error"]["message"]) == (status, message)


def test_an_error_keeps_its_own_bytes():
    assert refusal(b'data: {"error" : {"z":1,"a":2}}\n\n') == (502, b'{"error" : {"z":1,"a":2}}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "error", "type", "code", "status", "response", "message", "text"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(JSON.map(event) | st.binary(max_size=60).map(lambda data: b"data: " + data + b"\n\n"))
def test_events_of_any_shape_have_a_sign_and_errors_a_status(given_):
    if sign(given_) is Sign.ERROR:
        status, body = refusal(given_)
        assert 400 <= status < 600
        assert json.loads(body).get("error")
