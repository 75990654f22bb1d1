"""Answers out of whatever a server sent."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.evals.test_suite import JSON
from trimtab.evals import answer as answers


def whole(message, **choice):
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}]}


def called(arguments, name="find"):
    return whole({"content": None, "tool_calls": [{"id": "1", "function": {"name": name, "arguments": arguments}}]})


def test_text_and_parts():
    assert answers.of(whole({"content": "hello"})).text == "hello"
    parts = [{"type": "text", "text": "hel"}, {"type": "image"}, {"type": "text", "text": "lo"}, {"text": 3}]
    assert answers.of(whole({"content": parts})).text == "hello"
    assert answers.of(whole({"content": None, "refusal": "no"})).refusal == "no"
    assert answers.of(whole({"content": "a\ud800b"})).text == "a?b"


def test_no_choice_is_no_answer():
    for odd in (None, [], {}, {"choices": []}, {"choices": [{}]}, {"choices": [None]}, {"choices": "x"}):
        assert answers.of(odd) is None


def test_arguments():
    (call,) = answers.of(called('{"make": "Ford"}')).tool_calls
    assert (call.name, call.arguments, call.malformed) == ("find", {"make": "Ford"}, "")
    assert answers.of(called({"make": "Ford"})).tool_calls == (call,)
    assert answers.of(called("")).tool_calls[0].arguments == {}
    for broken in ('{"make": ', "[1]", '{"a": NaN}', '{"a": "\\ud800"}', "[" * 3000):
        (call,) = answers.of(called(broken)).tool_calls
        assert call.arguments is None and call.malformed


def test_log_probabilities():
    content = [
        {
            "token": "a",
            "logprob": -0.1,
            "top_logprobs": [{"token": "a", "logprob": -0.1}, {"token": "b", "logprob": -2}],
        },
        {"token": "b", "logprob": 0.0001, "top_logprobs": []},
    ]
    first, second = answers.of(whole({"content": "ab"}, logprobs={"content": content})).tokens
    assert first.top == {"a": -0.1, "b": -2.0} and second.logprob == 0.0
    content[0]["logprob"] = "odd"
    assert answers.of(whole({"content": "ab"}, logprobs={"content": content})).tokens == ()


@given(JSON, JSON, JSON)
def test_anything_is_read_and_can_be_kept(content, calls, logprobs):
    for message in (
        {"content": content, "tool_calls": calls},
        {"content": "x", "tool_calls": [calls, {"function": calls}]},
    ):
        found = answers.of(whole(message, logprobs=logprobs))
        assert msgspec.json.decode(msgspec.json.encode(found), type=answers.Answer) == found


@given(st.text() | JSON.map(json.dumps))
def test_any_arguments_are_an_object_or_malformed(arguments):
    (call,) = answers.of(called(arguments)).tool_calls
    assert (call.arguments is None) == bool(call.malformed)
