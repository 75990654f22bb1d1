"""`litellm` as a client: by chat, messages and responses, plain and streamed, sync and async, with tools."""

import asyncio
import json

import litellm
import pytest

from tests.gateway.dialects.answers import INPUT, WORDS
from tests.gateway.upstream import Script

SAID = "".join(WORDS)
HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "find_car", "parameters": {"type": "object", "properties": {}}}}

litellm.telemetry = False
litellm.suppress_debug_info = True


def options(gateway, model):
    """`openai/…` asks by chat, `anthropic/…` by messages."""
    url = gateway.url.removesuffix("/v1") if model.startswith("anthropic/") else gateway.url
    return {"model": model, "api_base": url, "api_key": "sk-x", "num_retries": 0, "max_retries": 0, "timeout": 20}


WAYS = ["openai/fake-model", "openai/claude-fake", "openai/gpt-fake"]
WAYS += ["anthropic/claude-fake", "anthropic/fake-model", "anthropic/gpt-fake"]


@pytest.mark.parametrize("model", WAYS)
def test_completion(gateway, model):
    got = litellm.completion(messages=HI, **options(gateway, model))
    assert got.choices[0].message.content == SAID
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (1000, 10)


@pytest.mark.parametrize("model", WAYS)
def test_streaming(gateway, model):
    pieces = list(litellm.completion(messages=HI, stream=True, **options(gateway, model)))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == SAID
    assert pieces[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("model", WAYS)
def test_tools(gateway, model):
    asked = {"messages": HI, "tools": [TOOL], **options(gateway, model)}
    plain = litellm.completion(**asked)
    streamed = litellm.stream_chunk_builder(list(litellm.completion(stream=True, **asked)))
    for got in (plain, streamed):
        (call,) = got.choices[0].message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("find_car", INPUT)
        assert got.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("model", ["openai/fake-model", "anthropic/claude-fake"])
def test_async(gateway, model):
    async def ask():
        asked = {"messages": HI, **options(gateway, model)}
        many = await asyncio.gather(*(litellm.acompletion(**asked) for _ in range(5)))
        pieces = [piece async for piece in await litellm.acompletion(stream=True, **asked)]
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
        return {text, *(one.choices[0].message.content for one in many)}

    assert asyncio.run(ask()) == {SAID}


def test_responses_and_embeddings(gateway):
    got = litellm.responses(input="hi", **options(gateway, "openai/gpt-fake"))
    assert got.output[0].content[0].text == SAID
    vectors = litellm.embedding(input=["a"], encoding_format="float", **options(gateway, "openai/embed-fake"))
    assert vectors.data[0]["embedding"] == [0.25, -1.5]


@pytest.mark.parametrize("model", ["openai/fake-model", "anthropic/claude-fake"])
def test_a_servers_rate_limit_is_litellms_own_error(gateway, model):
    gateway.upstream.script = Script(status=429, body=b'{"error": {"message": "slow down"}}')
    with pytest.raises(litellm.RateLimitError, match="slow down"):
        litellm.completion(messages=HI, **options(gateway, model))
