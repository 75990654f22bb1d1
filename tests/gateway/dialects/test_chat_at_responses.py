"""Clients of chat at a responses server: as pure functions, and with the real SDK over real sockets."""

import json

import openai
import pytest
from hypothesis import given, settings

from tests.gateway.dialects.answers import (
    CALL_ITEM,
    INPUT,
    RESPONSES_USAGE,
    TEXT_ITEM,
    WORDS,
    plain,
    response,
    response_events,
)
from tests.gateway.dialects.test_responses_at_chat import MESSAGE, chunks
from tests.gateway.dialects.test_translate import CHAT
from tests.gateway.upstream import USAGE, Script
from trimtab.errors import RequestRefused
from trimtab.gateway.assembly import Assembly
from trimtab.gateway.dialects import translate_responses_request, translate_to_responses
from trimtab.gateway.dialects.crossing import Asked
from trimtab.gateway.dialects.translate_from_responses import CHAT_TO_RESPONSES, Chunks
from trimtab.gateway.dialects.translate_responses_answer import RESPONSES_TO_CHAT, Events
from trimtab.trace import EndState

SAID = "".join(WORDS)
ASK = {"model": "gpt-fake", "messages": [{"role": "user", "content": "hi"}]}
FUNCTION = {"type": "function", "function": {"name": "find_car", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "car", "schema": {"type": "object"}, "strict": True}}


def test_plain(gpt, gateway):
    got = gpt.chat.completions.create(**ASK, max_tokens=9)
    assert (got.choices[0].message.content, got.choices[0].finish_reason) == (SAID, "stop")
    assert (got.usage.prompt_tokens_details.cached_tokens, got.usage.completion_tokens_details.reasoning_tokens) == (
        600,
        4,
    )
    seen = gateway.upstream.seen[0]
    assert (seen.path, seen.json["store"], seen.json["max_output_tokens"]) == ("/v1/responses", False, 9)


def test_streamed(gpt):
    pieces = list(gpt.chat.completions.create(**ASK, stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == SAID
    assert pieces[-1].choices[0].finish_reason == "stop"


def test_structured_output(gpt, gateway):
    got = gpt.chat.completions.create(**ASK, response_format=SCHEMA)
    assert json.loads(got.choices[0].message.content) == {"make": "Ford", "doors": 4}
    assert gateway.upstream.seen[0].json["text"] == {"format": {"type": "json_schema", **SCHEMA["json_schema"]}}


def test_a_loop_with_tools(gpt, gateway):
    first = gpt.chat.completions.create(**ASK, tools=[FUNCTION])
    with gpt.chat.completions.stream(**ASK, tools=[FUNCTION]) as stream:
        second = stream.get_final_completion()
    for got in (first, second):
        (call,) = got.choices[0].message.tool_calls
        assert (call.id, call.function.name, json.loads(call.function.arguments)) == ("call_1", "find_car", INPUT)
        assert got.choices[0].finish_reason == "tool_calls"
    assert gateway.upstream.seen[0].json["tools"][0]["strict"] is False
    turns = [*ASK["messages"], first.choices[0].message, {"role": "tool", "tool_call_id": "call_1", "content": "none"}]
    gpt.chat.completions.create(model="gpt-fake", messages=turns)
    called, told = gateway.upstream.seen[-1].json["input"][1:]
    assert called == {
        "type": "function_call",
        "call_id": "call_1",
        "name": "find_car",
        "arguments": CALL_ITEM["arguments"],
    }
    assert told == {"type": "function_call_output", "call_id": "call_1", "output": "none"}


@pytest.mark.parametrize("stream", [False, True])
def test_usage_is_the_providers_own(gateway, stream):
    call, payload = gateway.call(gateway.ask({**ASK, "stream": stream})[1])
    assert (call.end, call.raw_usage, call.finish_reason) == (EndState.COMPLETE, RESPONSES_USAGE, "stop")
    assert payload.response["choices"][0]["message"]["content"] == SAID


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_a_cut_stream_is_cut(gateway, ending):
    gateway.upstream.script = Script(events=response_events()[:8], end=ending, pause_s=0.01)
    _, headers, content = gateway.ask({**ASK, "stream": True})
    assert b"[DONE]" not in content and b"stream_cut" in content
    assert gateway.call(headers)[0].end is EndState.CUT


def test_a_failed_response_is_an_error(gpt, gateway):
    gateway.upstream.script = Script(
        body=plain(response([], "failed", error={"code": "server_error", "message": "busy"}))
    )
    with pytest.raises(openai.InternalServerError, match="busy"):
        gpt.chat.completions.create(**ASK)


def test_what_chat_has_no_word_for_is_named(gateway):
    cited = {**TEXT_ITEM, "content": [{**TEXT_ITEM["content"][0], "annotations": [{"type": "url_citation"}]}]}
    for output, name in ([{"id": "w", "type": "web_search_call"}], b"web_search_call"), ([cited], b"annotations"):
        gateway.upstream.script = Script(body=plain(response(output)))
        status, _, content = gateway.ask(ASK)
        assert status == 502 and name in content


@pytest.mark.parametrize("name", ["stop", "seed", "audio", "prediction", "web_search_options"])
def test_what_responses_cannot_say_is_named(name):
    with pytest.raises(RequestRefused) as refused:
        translate_to_responses.request({**ASK, name: {"stop": ["a"]}.get(name, 1)})
    assert refused.value.param == name


@settings(max_examples=100, deadline=None)
@given(CHAT)
def test_a_chat_request_comes_back_as_it_was(body):
    body.pop("stop", None)
    there = translate_to_responses.request(json.loads(json.dumps(body)))
    back = translate_responses_request.request(there)
    for tool in back.get("tools", []):
        assert tool["function"].pop("strict") is False
    for message in back["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else ():
            assert part.get("image_url", {}).pop("detail", "auto") == "auto"
    assert back == body


@settings(max_examples=100, deadline=None)
@given(MESSAGE)
def test_an_answer_comes_back_as_it_was(message):
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "c1", "model": "m", "choices": [choice], "usage": USAGE}
    there = RESPONSES_TO_CHAT.answer(body, Asked())
    back = CHAT_TO_RESPONSES.answer(there, Asked())
    said = back["choices"][0]["message"]
    assert said.pop("refusal") is None
    calls = [{name: held for name, held in call.items() if name != "index"} for call in message["tool_calls"]]
    assert said == {
        **{k: v for k, v in message.items() if k != "tool_calls"},
        **({"tool_calls": calls} if calls else {}),
    }
    assert back["usage"]["prompt_tokens_details"]["cached_tokens"] == 600
    # And streamed, piece by piece, there and back.
    chat, turning, again = Assembly(), Events(Asked()), Chunks(Asked())
    events = [event for chunk in chunks(message, 2) for event in turning.add(chunk)]
    for event in [*events, *turning.end()]:
        for chunk in again.add(event):
            chat.add(chunk)
    assert chat.answer()["choices"][0]["message"] == said
    assert chat.finish_reason == ("tool_calls" if calls else "stop")
