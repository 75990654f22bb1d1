"""Clients of one dialect at endpoints of the other, over real sockets, with the real SDKs."""

import json

import anthropic
import openai
import pytest

from tests.gateway.dialects.answers import (
    ANTHROPIC_USAGE,
    INPUT,
    TOOL_USE,
    WORDS,
    event,
    message,
    message_events,
    plain,
)
from tests.gateway.upstream import DONE, TEXT, TOOLS, USAGE, Script, answer, chunk
from trimtab.money import Usage
from trimtab.trace import EndState

SAID = "".join(WORDS)
CHAT = {"model": "claude-fake", "messages": [{"role": "user", "content": "hi"}]}
MESSAGE = {"model": "fake-model", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
FUNCTION = {"type": "function", "function": {"name": "find_car", "parameters": {"type": "object", "properties": {}}}}
TOOL = {"name": "find_car", "input_schema": {"type": "object", "properties": {}}}
CLAUDE_USAGE = Usage(input_tokens=1000, output_tokens=10, cache_read_tokens=600, cache_write_tokens=100)


def test_a_chat_client_asks_claude(gpt, gateway):
    answer = gpt.chat.completions.create(**CHAT)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (SAID, "stop")
    assert (answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens) == (1000, 600)
    seen = gateway.upstream.seen[0]
    assert (seen.path, seen.headers["x-api-key"], seen.headers["anthropic-version"]) == (
        "/v1/messages",
        "sk-x",
        "2023-06-01",
    )
    assert "Authorization" not in seen.headers


def test_a_chat_client_streams_from_claude(gpt):
    chunks = list(gpt.chat.completions.create(**CHAT, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    assert chunks[-1].choices[0].finish_reason == "stop"
    counted = list(gpt.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}))[-1]
    assert (counted.choices, counted.usage.prompt_tokens, counted.usage.completion_tokens) == ([], 1000, 10)


def test_a_chat_client_calls_tools_with_claude(gpt, gateway):
    first = gpt.chat.completions.create(**CHAT, tools=[FUNCTION])
    with gpt.chat.completions.stream(**CHAT, tools=[FUNCTION]) as stream:
        second = stream.get_final_completion()
    for got in (first, second):
        (call,) = got.choices[0].message.tool_calls
        assert (call.id, call.function.name, json.loads(call.function.arguments)) == ("toolu_1", "find_car", INPUT)
        assert got.choices[0].finish_reason == "tool_calls"
    turns = [
        *CHAT["messages"],
        first.choices[0].message,
        {"role": "tool", "tool_call_id": "toolu_1", "content": "none"},
    ]
    turns[1] = turns[1].model_dump(exclude={"reasoning_content"})
    gpt.chat.completions.create(model="claude-fake", messages=turns, tools=[FUNCTION])
    sent = gateway.upstream.seen[-1].json["messages"]
    assert sent[1] == {"role": "assistant", "content": [TOOL_USE]}
    assert sent[2]["content"] == [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "none"}]


def test_a_messages_client_asks_a_chat_server(claude, gateway):
    answer = claude.messages.create(**MESSAGE, system="Be brief.")
    assert (answer.content[0].text, answer.stop_reason) == (SAID, "end_turn")
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (400, 600)
    seen = gateway.upstream.seen[0]
    assert (seen.path, seen.headers["Authorization"]) == ("/v1/chat/completions", "Bearer sk-x")
    assert not any(name.lower().startswith("anthropic") for name in seen.headers)
    assert seen.json["messages"][0] == {"role": "system", "content": "Be brief."}


def test_a_messages_client_streams_from_a_chat_server(claude):
    with claude.messages.stream(**MESSAGE) as stream:
        assert "".join(stream.text_stream) == SAID
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("end_turn", 400, 10)


def test_a_messages_client_calls_tools_with_a_chat_server(claude):
    first = claude.messages.create(**MESSAGE, tools=[TOOL])
    with claude.messages.stream(**MESSAGE, tools=[TOOL]) as stream:
        second = stream.get_final_message()
    for got in (first, second):
        (block,) = got.content
        assert (block.id, block.name, block.input, got.stop_reason) == ("call_1", "find_car", INPUT, "tool_use")


@pytest.mark.parametrize("stream", [False, True])
def test_usage_and_cost_are_the_providers_own(gateway, stream):
    call, payload = gateway.call(gateway.ask({**CHAT, "stream": stream})[1])
    assert (call.end, call.usage, call.operation, call.endpoint) == (EndState.COMPLETE, CLAUDE_USAGE, "chat", "claude")
    assert call.raw_usage == ANTHROPIC_USAGE
    assert call.cost_nanodollars == 300 * 2000 + 600 * 500 + 100 * 4000 + 10 * 8000
    assert payload.response["choices"][0]["message"]["content"] == SAID
    call, payload = gateway.call(gateway.ask({**MESSAGE, "stream": stream}, path="/v1/messages")[1])
    assert (call.end, call.raw_usage, call.finish_reason) == (EndState.COMPLETE, USAGE, "end_turn")
    assert payload.response["content"] == [{"type": "text", "text": SAID}]


@pytest.mark.parametrize("stream", [False, True])
def test_no_usage_stays_unknown(gateway, stream):
    gateway.upstream.script = Script(events=[*TEXT, DONE]) if stream else Script(body=answer(usage=None))
    call, _ = gateway.call(gateway.ask({**MESSAGE, "stream": stream}, path="/v1/messages")[1])
    assert (call.end, call.raw_usage, call.cost_nanodollars) == (EndState.COMPLETE, None, None)


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_a_stream_that_breaks_off_is_cut_on_the_other_side_too(gateway, ending):
    gateway.upstream.script = Script(events=message_events()[:6], end=ending, pause_s=0.01)
    _, headers, content = gateway.ask({**CHAT, "stream": True})
    assert b"Hello" in content and b"[DONE]" not in content
    assert json.loads(content.strip().split(b"\n\n")[-1].removeprefix(b"data: "))["error"]["code"] == "stream_cut"
    assert gateway.call(headers)[0].end is EndState.CUT
    gateway.upstream.script = Script(events=TEXT[:4], end=ending, pause_s=0.01)
    _, headers, content = gateway.ask({**MESSAGE, "stream": True}, path="/v1/messages")
    assert b"message_stop" not in content and content.strip().split(b"\n\n")[-1].startswith(b"event: error\n")
    assert gateway.call(headers)[0].end is EndState.CUT


def test_a_stop_that_never_came_is_a_cut(gateway):
    gateway.upstream.script = Script(events=message_events()[:-1])
    _, headers, _ = gateway.ask({**CHAT, "stream": True})
    assert gateway.call(headers)[0].end is EndState.CUT


def test_a_chat_stream_without_done_but_with_its_finish_is_whole(gateway):
    gateway.upstream.script = Script(events=TEXT)
    _, headers, content = gateway.ask({**MESSAGE, "stream": True}, path="/v1/messages")
    assert content.endswith(b'data: {"type":"message_stop"}\n\n')
    assert gateway.call(headers)[0].end is EndState.COMPLETE


def test_an_error_event_is_told_in_the_clients_dialect(gateway):
    overloaded = event({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})
    gateway.upstream.script = Script(events=[*message_events()[:6], overloaded])
    _, headers, content = gateway.ask({**CHAT, "stream": True})
    assert content.strip().split(b"\n\n")[-1].startswith(b'data: {"error":{"message":"busy"')
    call, _ = gateway.call(headers)
    assert (call.end, call.error) == (EndState.UPSTREAM_ERROR, "busy")


def test_errors_are_told_in_the_clients_dialect(gpt, claude, gateway):
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    gateway.upstream.script = Script(status=429, body=plain(body), headers={"Retry-After": "7"})
    with pytest.raises(openai.RateLimitError, match="slow down") as told:
        gpt.chat.completions.create(**CHAT)
    assert (told.value.body["type"], told.value.response.headers["retry-after"]) == ("rate_limit_error", "7")
    gateway.upstream.script = Script(status=400, body=b'{"error": {"message": "no luck", "type": "t", "code": "c"}}')
    with pytest.raises(anthropic.BadRequestError, match="no luck"):
        claude.messages.create(**MESSAGE)


def test_what_cannot_be_translated_is_refused_by_name(gpt, claude, gateway):
    with pytest.raises(openai.BadRequestError, match="logit_bias cannot be put into messages") as refused:
        gpt.chat.completions.create(**CHAT, logit_bias={"1": 2})
    assert (refused.value.param, refused.value.code) == ("logit_bias", "not_translatable")
    with pytest.raises(anthropic.BadRequestError, match="top_k cannot be put into chat"):
        claude.messages.create(**MESSAGE, extra_body={"top_k": 3})
    with pytest.raises(anthropic.BadRequestError, match="count_tokens is not translated"):
        claude.messages.count_tokens(model="fake-model", messages=MESSAGE["messages"])
    with pytest.raises(openai.BadRequestError, match="ask for a model whose endpoint speaks chat"):
        gpt.embeddings.create(model="claude-fake", input="a")
    assert not gateway.upstream.seen
    status, headers, _ = gateway.ask({**CHAT, "seed": 1})
    call, _ = gateway.call(headers)
    assert (status, call.end) == (400, EndState.REFUSED)


def test_an_answer_that_cannot_be_translated_is_an_error_that_names_it(gateway):
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    gateway.upstream.script = Script(body=plain(message([search])))
    status, headers, content = gateway.ask(CHAT)
    assert (status, json.loads(content)["error"]["code"]) == (502, "answer_not_translatable")
    assert "server_tool_use" in json.loads(content)["error"]["message"]
    gateway.upstream.script = Script(events=message_events([{"type": "text"}, search]))
    _, headers, content = gateway.ask({**CHAT, "stream": True})
    assert b"server_tool_use" in content.strip().split(b"\n\n")[-1] and b"[DONE]" not in content
    assert gateway.call(headers)[0].end is EndState.UPSTREAM_ERROR


def test_a_fallback_may_speak_another_dialect(gateway):
    status, headers, content = gateway.ask({**CHAT, "model": "dead"})
    assert (status, headers["x-trimtab-fallback"], headers["x-trimtab-endpoint"]) == (200, "true", "claude")
    assert json.loads(content)["choices"][0]["message"]["content"] == SAID


def test_pings_keep_the_other_side_awake(gateway):
    content = gateway.ask({**CHAT, "stream": True})[2]
    assert b": ping\n\n" in content


def test_tools_of_a_chat_stream_are_blocks_of_their_own(gateway):
    second = chunk({"tool_calls": [{"index": 1, "id": "call_2", "function": {"name": "stop", "arguments": ""}}]})
    gateway.upstream.script = Script(events=[*TEXT[:3], *TOOLS[:-1], second, TOOLS[-1], DONE])
    _, headers, _ = gateway.ask({**MESSAGE, "stream": True}, path="/v1/messages")
    content = gateway.call(headers)[1].response["content"]
    assert [block["type"] for block in content] == ["text", "tool_use", "tool_use"]
    assert [block["input"] for block in content[1:]] == [INPUT, {}]


def test_an_event_without_an_end_is_not_held_for_ever(gateway):
    """What never ends is no event; the stream is given up long before memory is."""
    begun = message_events()[:4]
    gateway.upstream.script = Script(events=[*begun, *[b"data: " + b"x" * 2**20] * 20], end="hang")
    _, headers, content = gateway.ask({**CHAT, "stream": True})
    assert b"stream_upstream_error" in content and len(content) < 2**16
    assert gateway.call(headers)[0].end is EndState.UPSTREAM_ERROR
