"""The `openai` SDK and curl, unchanged, against the gateway: plain, streamed, tools, JSON schema, errors."""

import asyncio
import json
import shutil
import subprocess

import openai
import pytest

from tests.gateway.upstream import DONE, TEXT, TOOL_CALL, USAGE, WORDS, Script, answer

SAID = "".join(WORDS)
HELLO = {"model": "fake-model", "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "find_car", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "car", "schema": {"type": "object"}}}


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key="sk-x", max_retries=0, timeout=20) as client:
        yield client


def test_plain(client):
    answer = client.chat.completions.create(**HELLO)
    assert answer.choices[0].message.content == SAID
    assert answer.usage.prompt_tokens_details.cached_tokens == 600


def test_stream(client):
    chunks = list(client.chat.completions.create(**HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    assert all(chunk.choices and not chunk.usage for chunk in chunks)


def test_stream_with_usage(client):
    chunks = list(client.chat.completions.create(**HELLO, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.total_tokens == USAGE["total_tokens"]
    assert chunks[-1].choices == []


def test_tools(client):
    answer = client.chat.completions.create(**HELLO, tools=[TOOL])
    assert answer.choices[0].message.tool_calls[0].function.arguments == TOOL_CALL["function"]["arguments"]


def test_streamed_tools_are_put_together_by_the_sdk(client):
    with client.chat.completions.stream(**HELLO, tools=[TOOL]) as stream:
        answer = stream.get_final_completion()
    assert answer.choices[0].message.tool_calls[0].function.name == "find_car"
    assert answer.choices[0].finish_reason == "tool_calls"


def test_json_schema(client, gateway):
    answer = client.chat.completions.create(**HELLO, response_format=SCHEMA)
    assert answer.choices[0].message.content == '{"make": "Ford", "doors": 4}'
    assert gateway.upstream.seen[0].json["response_format"] == SCHEMA


def test_models(client):
    assert "alias" in [model.id for model in client.models.list()]


def test_async_plain_and_streamed(gateway):
    async def ask():
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key="sk-x", max_retries=0, timeout=20) as client:
            plain = await client.chat.completions.create(**HELLO)
            stream = await client.chat.completions.create(**HELLO, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            many = await asyncio.gather(*(client.chat.completions.create(**HELLO) for _ in range(20)))
            return plain.choices[0].message.content, "".join(pieces), {one.choices[0].message.content for one in many}

    assert asyncio.run(ask()) == (SAID, SAID, {SAID})


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
@pytest.mark.parametrize("stream", [False, True])
def test_curl(gateway, stream):
    words = ["curl", "-sSN", f"{gateway.url}/chat/completions", "-H", "Content-Type: application/json"]
    ended = subprocess.run([*words, "-d", json.dumps({**HELLO, "stream": stream})], capture_output=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == (b"".join([*TEXT, DONE]) if stream else answer())


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, openai.AuthenticationError), (429, openai.RateLimitError), (500, openai.InternalServerError)],
)
def test_errors_are_the_sdks_own(client, gateway, status, error):
    gateway.upstream.script = Script(status=status, body=b'{"error": {"message": "no luck", "code": "c"}}')
    with pytest.raises(error, match="no luck"):
        client.chat.completions.create(**HELLO)


def test_an_unknown_model_is_the_sdks_not_found(client):
    with pytest.raises(openai.NotFoundError, match="alias"):
        client.chat.completions.create(**{**HELLO, "model": "gpt-none"})


def test_a_cut_stream_raises_in_the_sdk(client, gateway):
    gateway.upstream.script = Script(events=TEXT[:4], end="abort")
    with pytest.raises(openai.APIError, match="before the answer was whole"):
        list(client.chat.completions.create(**HELLO, stream=True))
