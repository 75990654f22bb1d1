"""What is given again says the same as what was kept, plain and as a stream, in every dialect."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.levers.cache.requests import DIALECTS, completion
from trimtab.gateway.stream import Relay
from trimtab.gateway.wire import Head
from trimtab.levers.cache import kept, replaying
from trimtab.trace import EndState

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=300)
ARGUMENTS = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.one_of(st.integers(0, 9), TEXTS), max_size=3)


def chat_answer(text, arguments):
    whole = completion(text)
    if arguments:
        calls = [{"id": "call_1", "type": "function", "function": {"name": "find", "arguments": json.dumps(arguments)}}]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        whole["choices"] = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    return whole


def message_answer(text, arguments):
    blocks = [
        {"type": "thinking", "thinking": text[::-1], "signature": "sig"},
        {"type": "text", "text": text},
        {"type": "tool_use", "id": "toolu_1", "name": "find", "input": arguments},
    ]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": blocks if arguments else blocks[:2],
        "stop_reason": "tool_use" if arguments else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 3},
    }


def response_answer(text, arguments):
    part = {"type": "output_text", "text": text, "annotations": []}
    items = [{"id": "i_0", "type": "message", "role": "assistant", "status": "completed", "content": [part]}]
    if arguments:
        call = {"type": "function_call", "call_id": "c", "name": "find", "arguments": json.dumps(arguments)}
        items.append({"id": "fc_1", "status": "completed", **call})
    usage = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "m",
        "incomplete_details": None,
        "output": items,
        "usage": usage,
    }


def text_answer(text, arguments):
    choices = [{"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}]
    return {**completion(), "object": "text_completion", "choices": choices}


ANSWERS = {"chat": chat_answer, "messages": message_answer, "responses": response_answer, "completions": text_answer}


@pytest.mark.parametrize("dialect", ANSWERS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS, arguments=ARGUMENTS)
def test_a_stream_of_an_answer_is_the_answer(dialect, text, arguments):
    """The gateway's own reader of streams puts it together again, and finds it whole."""
    whole = ANSWERS[dialect](text, arguments)
    relay = Relay(DIALECTS[dialect], Head())
    sent = list(replaying.events(dialect, whole))
    for event in sent:
        relay.feed(event)
    assert relay.end is EndState.COMPLETE
    assert relay.assembly.answer() == whole
    assert relay.malformed == 0
    if len(text) > 200 and not arguments:
        assert len(sent) > 5, "a long text goes out in pieces"


def test_the_usage_chunk_is_kept_from_a_client_that_did_not_ask_for_it():
    relay = Relay(DIALECTS["chat"], Head())
    passed = b"".join(relay.feed(event) for event in replaying.events("chat", completion()))
    assert b"prompt_tokens" not in passed
    assert passed.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_ids_are_new_each_time_and_nothing_else_changes(dialect):
    whole = ANSWERS[dialect]("hello", {"a": 1})
    body = json.dumps(whole).encode()
    one, two = (json.loads(replaying.replay(dialect, body, False).body) for _ in range(2))
    assert len({one["id"], two["id"], whole["id"]}) == 3
    assert one["id"].split("-")[0].split("_")[0] == whole["id"].split("-")[0].split("_")[0]
    texts = [json.dumps(each).replace(each["id"], "") for each in (one, two)]
    assert texts[0] != texts[1], "the tool's call has an id of its own"
    for each in (one, two):
        assert kept.said_in(dialect, each) == kept.said_in(dialect, whole)
        assert each["usage"] == whole["usage"]


def test_a_response_keeps_its_id_because_the_server_may_know_it():
    body = json.dumps(response_answer("hello", {})).encode()
    assert json.loads(replaying.replay("responses", body, False).body)["id"] == "resp_1"


@pytest.mark.parametrize(
    ("dialect", "change"),
    [
        ("chat", {"choices": [{"index": 0, "message": {"content": "half"}, "finish_reason": "length"}]}),
        ("chat", {"choices": [{"index": 0, "message": {"content": "no"}, "finish_reason": "content_filter"}]}),
        ("chat", {"choices": [{"index": 0, "message": {"refusal": "no", "content": None}, "finish_reason": "stop"}]}),
        ("chat", {"choices": [{"index": 0, "message": {"content": ""}, "finish_reason": "stop"}]}),
        ("chat", {"choices": []}),
        ("messages", {"stop_reason": "max_tokens"}),
        ("messages", {"stop_reason": "refusal"}),
        ("messages", {"content": []}),
        ("responses", {"status": "incomplete"}),
        ("responses", {"status": "in_progress"}),
        ("responses", {"error": {"message": "x"}}),
    ],
)
def test_an_answer_that_is_not_whole_is_not_kept(dialect, change):
    whole = ANSWERS[dialect]("hello", {})
    assert kept.of(DIALECTS[dialect], json.dumps(whole).encode()) is not None
    assert kept.of(DIALECTS[dialect], json.dumps({**whole, **change}).encode()) is None
