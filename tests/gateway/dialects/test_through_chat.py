"""Messages clients at a responses server and the other way round: as pure functions, and with the real SDKs."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.dialects.answers import (
    CALL_ITEM,
    INPUT,
    RESPONSES_USAGE,
    TEXT_ITEM,
    THINKING,
    TOOL_USE,
    WORDS,
    message,
    message_events,
    plain,
    response,
    response_events,
)
from tests.gateway.dialects.test_translate import BLOCKS, CHAT, COUNTS, events, whole
from tests.gateway.upstream import Script
from trimtab.errors import RequestRefused
from trimtab.gateway.dialects import translate_to_messages
from trimtab.gateway.dialects.crossing import Asked
from trimtab.gateway.dialects.messages import Message
from trimtab.gateway.dialects.responses import Response
from trimtab.gateway.dialects.translate_through_chat import MESSAGES_TO_RESPONSES, RESPONSES_TO_MESSAGES
from trimtab.trace import EndState

SAID = "".join(WORDS)
MESSAGE = {"model": "gpt-fake", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
ASK = {"model": "claude-fake", "input": "hi"}
TOOL = {"name": "find_car", "input_schema": {"type": "object", "properties": {}}}
FUNCTION = {"type": "function", "name": "find_car", "parameters": {"type": "object", "properties": {}}, "strict": True}
REASONED = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "Hm, a car."}],
}


def test_a_messages_client_asks_a_responses_server(claude, gateway):
    answer = claude.messages.create(**MESSAGE, system="Be brief.")
    assert (answer.content[0].text, answer.stop_reason) == (SAID, "end_turn")
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (400, 600)
    assert answer.usage.output_tokens_details.thinking_tokens == 4
    seen = gateway.upstream.seen[0]
    assert (seen.path, seen.headers["Authorization"], seen.json["store"]) == ("/v1/responses", "Bearer sk-x", False)
    assert seen.json["input"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert not any(name.lower().startswith("anthropic") for name in seen.headers)


def test_a_messages_client_streams_from_a_responses_server(claude):
    with claude.messages.stream(**MESSAGE) as stream:
        assert "".join(stream.text_stream) == SAID
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("end_turn", 400, 10)


def test_a_loop_with_tools_and_thoughts_at_a_responses_server(claude, gateway):
    output = [REASONED, CALL_ITEM]
    gateway.upstream.script = Script(body=plain(response(output)))
    first = claude.messages.create(**MESSAGE, tools=[TOOL])
    gateway.upstream.script = Script(events=response_events([CALL_ITEM]))
    with claude.messages.stream(**MESSAGE, tools=[TOOL]) as stream:
        second = stream.get_final_message()
    assert [block.type for block in first.content] == ["thinking", "tool_use"]
    for got in (first, second):
        called = got.content[-1]
        assert (called.id, called.name, called.input, got.stop_reason) == ("call_1", "find_car", INPUT, "tool_use")
    gateway.upstream.script = Script(body=plain(response()))
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "none"}
    turns = [
        *MESSAGE["messages"],
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    claude.messages.create(**{**MESSAGE, "messages": turns}, tools=[TOOL])
    thought, called, told = gateway.upstream.seen[-1].json["input"][1:]
    assert (thought["type"], thought["content"]) == ("reasoning", REASONED["content"])
    assert (called["call_id"], json.loads(called["arguments"])) == ("call_1", INPUT)
    assert told == {"type": "function_call_output", "call_id": "call_1", "output": "none"}


def test_a_responses_client_asks_a_messages_server(gpt, gateway):
    got = gpt.responses.create(**ASK, instructions="Be brief.", max_output_tokens=9)
    assert (got.output_text, got.status, got.instructions) == (SAID, "completed", "Be brief.")
    assert (got.usage.input_tokens, got.usage.input_tokens_details.cached_tokens) == (1000, 600)
    seen = gateway.upstream.seen[0]
    assert (seen.path, seen.headers["x-api-key"], seen.json["max_tokens"]) == ("/v1/messages", "sk-x", 9)
    assert seen.json["system"] == [{"type": "text", "text": "Be brief."}]


def test_a_responses_client_streams_from_a_messages_server(gpt):
    with gpt.responses.stream(**ASK) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == SAID
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (final.output_text, final.usage.input_tokens, final.usage.output_tokens) == (SAID, 1000, 10)


def test_a_loop_with_tools_at_a_messages_server(gpt, gateway):
    gateway.upstream.script = Script(body=plain(message([TOOL_USE], "tool_use")))
    first = gpt.responses.create(**ASK, tools=[FUNCTION])
    gateway.upstream.script = Script(events=message_events([TOOL_USE], "tool_use"))
    with gpt.responses.stream(**ASK, tools=[FUNCTION]) as stream:
        second = stream.get_final_response()
    for got in (first, second):
        (called,) = got.output
        assert (called.call_id, called.name, json.loads(called.arguments)) == ("toolu_1", "find_car", INPUT)
    gateway.upstream.script = Script(body=plain(message()))
    result = {"type": "function_call_output", "call_id": "toolu_1", "output": "none"}
    gpt.responses.create(model="claude-fake", input=[{"role": "user", "content": "hi"}, *first.output, result])
    called, told = gateway.upstream.seen[-1].json["messages"][1:]
    assert called == {"role": "assistant", "content": [TOOL_USE]}
    assert told["content"] == [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "none"}]


@pytest.mark.parametrize("stream", [False, True])
def test_usage_is_the_providers_own(gateway, stream):
    call, payload = gateway.call(gateway.ask({**MESSAGE, "stream": stream}, path="/v1/messages")[1])
    assert (call.end, call.raw_usage, call.endpoint) == (EndState.COMPLETE, RESPONSES_USAGE, "gpt")
    assert payload.response["content"] == [{"type": "text", "text": SAID}]
    call, payload = gateway.call(gateway.ask({**ASK, "stream": stream}, path="/v1/responses")[1])
    assert (call.end, call.usage.input_tokens, call.endpoint) == (EndState.COMPLETE, 1000, "claude")
    assert payload.response["output"][0]["content"][0]["text"] == SAID


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_a_cut_stream_is_cut(gateway, ending):
    gateway.upstream.script = Script(events=response_events()[:8], end=ending, pause_s=0.01)
    _, headers, content = gateway.ask({**MESSAGE, "stream": True}, path="/v1/messages")
    assert b"Hello" in content and b"message_stop" not in content and b"event: error" in content
    assert gateway.call(headers)[0].end is EndState.CUT
    gateway.upstream.script = Script(events=message_events()[:6], end=ending, pause_s=0.01)
    _, headers, content = gateway.ask({**ASK, "stream": True}, path="/v1/responses")
    assert b"Hello" in content and b"response.completed" not in content and b"stream_cut" in content
    assert gateway.call(headers)[0].end is EndState.CUT


def test_an_answer_without_a_word_for_it_is_an_error_in_the_clients_words(gateway):
    cited = {**TEXT_ITEM, "content": [{**TEXT_ITEM["content"][0], "annotations": [{"type": "url_citation"}]}]}
    gateway.upstream.script = Script(body=plain(response([cited])))
    status, _, content = gateway.ask(MESSAGE, path="/v1/messages")
    assert status == 502 and b"annotations, which messages has no word for" in content
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    gateway.upstream.script = Script(events=message_events([{"type": "text"}, search]))
    _, headers, content = gateway.ask({**ASK, "stream": True}, path="/v1/responses")
    assert b"server_tool_use" in content and b"which responses has no word for" in content
    assert gateway.call(headers)[0].end is EndState.UPSTREAM_ERROR


USER = {"role": "user", "content": "a"}
DETAILED = {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"}


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ({"top_k": 5}, "top_k"),
        ({"stop_sequences": ["x"]}, "stop_sequences"),
        ({"messages": [USER, {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}]},
         "messages[1].content[0].type"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ],
)  # fmt: skip
def test_what_responses_cannot_say_is_named_as_the_client_wrote_it(member, name):
    with pytest.raises(RequestRefused, match="into responses: leave it out") as refused:
        MESSAGES_TO_RESPONSES.request({**MESSAGE, **member})
    assert refused.value.param == name and str(refused.value).startswith(name)


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ({"previous_response_id": "r"}, "previous_response_id"),
        ({"prompt_cache_key": "k"}, "prompt_cache_key"),
        ({"temperature": 1.5}, "temperature"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {}, "strict": False}}},
         "text.format.strict"),
        ({"reasoning": {"effort": "minimal"}}, "reasoning.effort"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"instructions": "b", "input": [USER, {"role": "developer", "content": "c"}]}, "input[1].role"),
        ({"instructions": "b", "input": [USER, {"role": "user", "content": [DETAILED]}]}, "input[1].content[0].detail"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"},
                                                 {"type": "input_image", "image_url": "file-1"}]}]},
         "input[0].content[1].image_url"),
        ({"input": [USER, REASONED, {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}]},
         "input[1]"),
        ({"input": [USER, {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                    {"type": "function_call", "call_id": "2", "name": "f", "arguments": "{"}]},
         "input[2].arguments"),
    ],
)  # fmt: skip
def test_what_messages_cannot_say_is_named_as_the_client_wrote_it(member, name):
    with pytest.raises(RequestRefused, match="into messages: leave it out") as refused:
        RESPONSES_TO_MESSAGES.request({**ASK, **member})
    assert refused.value.param == name and str(refused.value).startswith(name)


@settings(max_examples=100, deadline=None)
@given(CHAT)
def test_a_request_comes_back_as_it_was(body):
    body.pop("stop", None)
    for tool in body.get("tools", []):
        tool["function"]["strict"] = True
    asked = translate_to_messages.request(body)
    there = MESSAGES_TO_RESPONSES.request(json.loads(json.dumps(asked)))
    assert RESPONSES_TO_MESSAGES.request(there) == asked


ANSWERS = st.tuples(BLOCKS, COUNTS)


@settings(max_examples=100, deadline=None)
@given(ANSWERS, st.integers(1, 5))
def test_an_answer_comes_back_as_it_was_plain_and_streamed(answer, cut):
    told = whole(*answer)
    there = RESPONSES_TO_MESSAGES.answer(told, Asked())
    back = MESSAGES_TO_RESPONSES.answer(there, Asked())
    assert back == told
    # And streamed, piece by piece, there and back.
    first, second = RESPONSES_TO_MESSAGES.turning(Asked()), MESSAGES_TO_RESPONSES.turning(Asked())
    response_, message_ = Response(), Message()
    for event in events(told, cut):
        for turned in first.add(event):
            response_.add(turned)
            for again in second.add(turned):
                message_.add(again)
    assert response_.finished and message_.finished
    assert not [*first.end(), *second.end()]
    assert message_.answer() == told
    said = [kept(item) for item in response_.answer()["output"]]
    assert said == [kept(item) for item in there["output"]]


def kept(item):
    """An item without the names of things and with its arguments read."""
    arguments = {"arguments": json.loads(item["arguments"])} if "arguments" in item else {}
    return {name: held for name, held in {**item, **arguments}.items() if name != "id"}


def test_thinking_is_said_and_its_proof_stays_with_its_server():
    told = message([THINKING, {"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"}])
    there = RESPONSES_TO_MESSAGES.answer(told, Asked())
    assert [item["type"] for item in there["output"]] == ["reasoning", "message"]
    assert "c2ln" not in json.dumps(there)
