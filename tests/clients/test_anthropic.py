"""The `anthropic` SDK: what tests/gateway does not show of it already. In its own dialect, and at other servers."""

import asyncio
import json

import anthropic
import pytest
from pydantic import BaseModel

from tests.gateway.dialects.answers import INPUT, WORDS, message, plain
from tests.gateway.upstream import Script

SAID = "".join(WORDS)
HI = [{"role": "user", "content": "hi"}]
TOOL = {"name": "find_car", "input_schema": {"type": "object", "properties": {}}}


class Car(BaseModel):
    make: str
    doors: int


CAR = Car(make="Ford", doors=4)
CAR_TEXT = '{"make": "Ford", "doors": 4}'


def options(gateway):
    url = gateway.url.removesuffix("/v1")
    return {"base_url": url, "api_key": "sk-x", "max_retries": 0, "timeout": 20}


@pytest.fixture
def claude(gateway):
    with anthropic.Anthropic(**options(gateway)) as client:
        yield client


def asked(gateway, ask):
    """What `ask` comes to with an async client."""

    async def run():
        async with anthropic.AsyncAnthropic(**options(gateway)) as client:
            return await ask(client)

    return asyncio.run(run())


def test_async_tools_structure_and_counts(gateway):
    async def ask(client):
        called = await client.messages.create(model="claude-fake", max_tokens=9, messages=HI, tools=[TOOL])
        async with client.messages.stream(model="claude-fake", max_tokens=9, messages=HI, tools=[TOOL]) as stream:
            streamed = await stream.get_final_message()
        counted = await client.messages.count_tokens(model="claude-fake", messages=HI)
        gateway.upstream.script = Script(body=plain(message([{"type": "text", "text": CAR_TEXT}])))
        parsed = await client.messages.parse(model="claude-fake", max_tokens=9, messages=HI, output_format=Car)
        return called.content[-1].input, streamed.content[-1].input, counted.input_tokens, parsed.parsed_output

    assert asked(gateway, ask) == (INPUT, INPUT, 42, CAR)


def test_what_the_client_marks_for_the_cache_stays_marked(claude, gateway):
    mark = {"type": "ephemeral", "ttl": "1h"}
    system = [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    tools = [{**TOOL, "cache_control": mark}]
    claude.messages.create(model="claude-fake", max_tokens=9, messages=HI, system=system, tools=tools)
    sent = gateway.upstream.seen[0].json
    assert (sent["system"], sent["tools"]) == (system, tools)


BATCH = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
    "ended_at": "2026-01-01T00:00:00Z",
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "archived_at": None,
    "cancel_initiated_at": None,
}


def test_batches(claude, gateway):
    batch = {**BATCH, "results_url": f"{gateway.url}/messages/batches/msgbatch_1/results"}
    gateway.upstream.script = Script(body=plain(batch))
    request = {"custom_id": "a", "params": {"model": "claude-fake", "max_tokens": 9, "messages": HI}}
    assert claude.messages.batches.create(requests=[request]).id == "msgbatch_1"
    assert json.loads(gateway.upstream.seen[0].body) == {"requests": [request]}

    def answered(seen):
        if not seen.path.endswith("/results"):
            return Script(body=plain(batch))
        line = {"custom_id": "a", "result": {"type": "succeeded", "message": message()}}
        body = json.dumps(line).encode() + b"\n"
        return Script(body=body, headers={"Content-Type": "application/x-jsonl"})

    gateway.upstream.script = answered
    (result,) = claude.messages.batches.results("msgbatch_1")
    assert (result.custom_id, result.result.message.content[0].text) == ("a", SAID)


@pytest.mark.parametrize("model", ["fake-model", "gpt-fake"])
def test_async_at_servers_of_other_dialects(gateway, model):
    async def ask(client):
        whole = await client.messages.create(model=model, max_tokens=9, messages=HI)
        async with client.messages.stream(model=model, max_tokens=9, messages=HI) as stream:
            pieces = [piece async for piece in stream.text_stream]
        called = await client.messages.create(model=model, max_tokens=9, messages=HI, tools=[TOOL])
        return {whole.content[0].text, "".join(pieces)}, called.content[-1].input, called.stop_reason

    assert asked(gateway, ask) == ({SAID}, INPUT, "tool_use")


@pytest.mark.parametrize("model", ["fake-model", "gpt-fake"])
def test_structure_at_servers_of_other_dialects(claude, gateway, model):
    got = claude.messages.parse(model=model, max_tokens=9, messages=HI, output_format=Car)
    assert got.parsed_output == CAR
    assert "json_schema" in gateway.upstream.seen[0].body.decode()
