"""What each dialect reads of streams and answers: any JSON is survived, any chunking gives the same, ends are told."""

import itertools
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.dialects.answers import (
    CALL_ITEM,
    TEXT_ITEM,
    THINKING,
    TOOL_USE,
    completion_events,
    message_events,
    response_events,
)
from trimtab.gateway import wire
from trimtab.gateway.dialects.messages import MESSAGES, Message
from trimtab.gateway.dialects.responses import RESPONSES, Response
from trimtab.gateway.dialects.table import DIALECTS
from trimtab.gateway.stream import Relay
from trimtab.trace import EndState

WORDS = [
    "type",
    "message",
    "delta",
    "usage",
    "index",
    "content_block",
    "content",
    "response",
    "item",
    "output",
    "output_index",
    "content_index",
    "error",
    "model",
    "status",
    "stop_reason",
    "text",
    "thinking",
    "partial_json",
    "citation",
    "citations",
    "choices",
    "finish_reason",
    "id",
    "name",
    "input",
    "parts",
    "arguments",
    "incomplete_details",
    "reason",
    "input_tokens",
    "object",
]
KINDS = [
    "message_start",
    "message_delta",
    "message_stop",
    "content_block_start",
    "content_block_delta",
    "text_delta",
    "error",
    "input_json_delta",
    "response.created",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "response.function_call_arguments.delta",
    "response.completed",
    "response.failed",
    "response.incomplete",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.floats() | st.text(max_size=4) | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=20,
)
CHUNK = st.dictionaries(st.sampled_from(WORDS), JSON, max_size=5).flatmap(
    lambda chunk: st.sampled_from(KINDS).map(lambda kind: {**chunk, "type": kind})
)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@settings(max_examples=150, deadline=None)
@given(chunks=st.lists(CHUNK | JSON, max_size=8), body=JSON)
def test_any_json_is_survived(dialect, chunks, body):
    relay = Relay(dialect, wire.Head())
    for chunk in chunks:
        relay.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    relay.close()
    assert relay.end is not None
    read = relay.assembly
    answer = read.answer()
    assert answer is None or json.dumps(answer)
    assert isinstance(read.model, str)
    assert read.usage is None or wire.usage(read.usage) is None or wire.usage(read.usage).input_tokens >= 0
    said = dialect.answer(json.dumps(body).encode())
    assert said is None or isinstance(said.model, str)


STREAMS = {
    "messages": message_events([THINKING, {"type": "text"}, TOOL_USE], "tool_use"),
    "responses": response_events([TEXT_ITEM, CALL_ITEM]),
    "completions": completion_events(),
}


@pytest.mark.parametrize("name", STREAMS)
@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 6000), max_size=12), keep=st.integers(1, 100))
def test_any_chunking_gives_the_same_and_only_the_whole_is_complete(name, cuts, keep):
    dialect = next(dialect for dialect in DIALECTS if dialect.name == name)
    events = STREAMS[name][:keep]
    stream = b"".join(events)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    head = wire.Head(stream_options=msgspec.Raw(b'{"include_usage":true}'))
    one, many = Relay(dialect, head), Relay(dialect, head)
    out = one.feed(stream) + one.close()
    pieces = b"".join(many.feed(stream[start:end]) for start, end in itertools.pairwise(edges)) + many.close()
    assert (pieces, many.end, many.assembly.answer()) == (out, one.end, one.assembly.answer())
    # What comes after a text's finish_reason is usage and [DONE]; the other two have a last event.
    whole = len(events) >= len(STREAMS[name]) - (2 if name == "completions" else 0)
    assert one.end is (EndState.COMPLETE if whole else EndState.CUT)
    assert (out == stream) is whole


def test_a_tools_input_that_breaks_off_is_kept_as_text():
    reading = Message()
    for event in message_events([TOOL_USE], "tool_use")[:5]:
        reading.add(json.loads(event.partition(b"data: ")[2]))
    assert reading.answer()["content"] == [{**TOOL_USE, "input": '{"mak'}]


def test_a_response_that_breaks_off_keeps_its_pieces():
    reading = Response()
    for event in response_events([TEXT_ITEM, CALL_ITEM])[:-4]:
        reading.add(json.loads(event.partition(b"data: ")[2]))
    text, call = reading.answer()["output"]
    assert text == TEXT_ITEM
    assert (call["name"], call["arguments"]) == ("find_car", '{"mak')
    assert not reading.finished


def test_citations_are_gathered():
    reading = Message()
    reading.add({"type": "message_start", "message": {"model": "m"}})
    reading.add(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "", "citations": None}}
    )
    for number in (1, 2):
        delta = {"type": "citations_delta", "citation": {"n": number}}
        reading.add({"type": "content_block_delta", "index": 0, "delta": delta})
    assert reading.answer()["content"] == [{"type": "text", "text": "", "citations": [{"n": 1}, {"n": 2}]}]


def test_a_delta_without_a_count_leaves_the_count_from_the_start():
    reading = Message()
    reading.add({"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}})
    reading.add({"type": "message_delta", "delta": {}, "usage": {"input_tokens": None, "output_tokens": 9}})
    assert reading.usage == {"input_tokens": 5, "output_tokens": 9}


def test_errors_are_told_in_each_dialects_words():
    problem = wire.Problem("busy", 429, "rate_limit", code="c")
    assert json.loads(MESSAGES.error_body(problem)) == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "busy"},
    }
    assert json.loads(RESPONSES.error_body(problem))["error"]["code"] == "c"
