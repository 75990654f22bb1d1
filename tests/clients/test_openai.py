"""The `openai` SDK: what tests/gateway does not show of it already. In its own dialects, and at other servers."""

import asyncio
import base64
import json
import struct

import openai
import pytest
from pydantic import BaseModel

from tests.gateway.dialects.answers import EMBEDDINGS, TOOL_USE, WORDS, message, message_events, plain
from tests.gateway.upstream import DONE, TEXT, Script, answer, chunk

SAID = "".join(WORDS)
HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "find_car", "parameters": {"type": "object", "properties": {}}}}
FUNCTION = {"type": "function", "name": "find_car", "parameters": {"type": "object", "properties": {}}, "strict": True}


class Car(BaseModel):
    make: str
    doors: int


CAR = Car(make="Ford", doors=4)
CAR_TEXT = '{"make": "Ford", "doors": 4}'


@pytest.fixture
def gpt(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key="sk-x", max_retries=0, timeout=20) as client:
        yield client


def asked(gateway, ask):
    """What `ask` comes to with an async client."""

    async def run():
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key="sk-x", max_retries=0, timeout=20) as client:
            return await ask(client)

    return asyncio.run(run())


def test_chat_is_parsed_into_a_model(gpt, gateway):
    got = gpt.chat.completions.parse(model="fake-model", messages=HI, response_format=Car)
    assert got.choices[0].message.parsed == CAR
    sent = gateway.upstream.seen[0].json["response_format"]["json_schema"]
    assert (sent["name"], sent["strict"], set(sent["schema"]["properties"])) == ("Car", True, {"make", "doors"})


def test_a_chat_stream_is_parsed_into_a_model(gpt, gateway):
    pieces = [chunk({"content": CAR_TEXT[at : at + 5]}) for at in range(0, len(CAR_TEXT), 5)]
    gateway.upstream.script = Script(events=[TEXT[0], *pieces, TEXT[-1], DONE])
    with gpt.chat.completions.stream(model="fake-model", messages=HI, response_format=Car) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == CAR


def test_all_parts_and_settings_reach_the_server_as_they_were(gpt, gateway):
    parts = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
    ]
    settings = {
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "seed": 7,
        "reasoning_effort": "low",
        "parallel_tool_calls": True,
    }
    asked = [{"role": "user", "content": parts}]
    gpt.chat.completions.create(model="fake-model", messages=asked, tools=[TOOL], **settings)
    sent = gateway.upstream.seen[0].json
    assert (sent["messages"], {name: sent[name] for name in settings}) == (asked, settings)


def test_two_choices_and_their_logprobs(gpt, gateway):
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    whole = json.loads(answer())
    whole["choices"] = [{**whole["choices"][0], "index": at, "logprobs": {"content": [token]}} for at in (0, 1)]
    gateway.upstream.script = Script(body=plain(whole))
    got = gpt.chat.completions.create(model="fake-model", messages=HI, n=2, logprobs=True)
    assert [choice.index for choice in got.choices] == [0, 1]
    assert got.choices[1].logprobs.content[0].logprob == -0.5


def calls_of(name, index):
    function = {"name": name, "arguments": ""}
    first = {"index": index, "id": f"call_{index}", "type": "function", "function": function}
    rest = [{"index": index, "function": {"arguments": piece}} for piece in ('{"a": ', f"{index}}}")]
    return [chunk({"tool_calls": [call]}) for call in (first, *rest)]


def test_parallel_tool_calls_in_a_stream(gpt, gateway):
    events = [TEXT[0], *calls_of("find_car", 0), *calls_of("sell", 1), chunk(finish="tool_calls"), DONE]
    gateway.upstream.script = Script(events=events)
    with gpt.chat.completions.stream(model="fake-model", messages=HI, tools=[TOOL]) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("find_car", {"a": 0}),
        ("sell", {"a": 1}),
    ]


def test_async_tools_and_models(gateway):
    async def ask(client):
        plain_ = await client.chat.completions.create(model="fake-model", messages=HI, tools=[TOOL])
        async with client.chat.completions.stream(model="fake-model", messages=HI, tools=[TOOL]) as stream:
            streamed = await stream.get_final_completion()
        parsed = await client.chat.completions.parse(model="fake-model", messages=HI, response_format=Car)
        names = [got.choices[0].message.tool_calls[0].function.name for got in (plain_, streamed)]
        return names, parsed.choices[0].message.parsed

    assert asked(gateway, ask) == (["find_car", "find_car"], CAR)


def test_embeddings_as_the_sdk_asks_for_them_by_itself(gpt, gateway):
    """That is in base64, whatever the caller wants."""
    packed = base64.b64encode(struct.pack("<2f", 0.25, -1.5)).decode()
    gateway.upstream.script = Script(
        body=plain({**EMBEDDINGS, "data": [{"object": "embedding", "index": 0, "embedding": packed}]})
    )
    assert gpt.embeddings.create(model="embed-fake", input=["a"]).data[0].embedding == [0.25, -1.5]
    assert gateway.upstream.seen[0].json["encoding_format"] == "base64"


def test_a_conversation_of_responses_is_continued(gpt, gateway):
    with gpt.responses.stream(model="gpt-fake", input="hi", previous_response_id="resp_0") as stream:
        assert stream.get_final_response().output_text == SAID
    assert gateway.upstream.seen[0].json["previous_response_id"] == "resp_0"


def test_async_responses_with_tools_and_structure(gateway):
    async def ask(client):
        called = await client.responses.create(model="gpt-fake", input="hi", tools=[FUNCTION])
        parsed = await client.responses.parse(model="gpt-fake", input="hi", text_format=Car)
        async with client.responses.stream(model="gpt-fake", input="hi") as stream:
            whole = await stream.get_final_response()
        return called.output[0].name, parsed.output_parsed, whole.output_text

    assert asked(gateway, ask) == ("find_car", CAR, SAID)


BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "f1",
    "completion_window": "24h",
    "status": "validating",
    "created_at": 1,
}


def test_batches_and_files(gpt, gateway):
    gateway.upstream.script = Script(body=plain(BATCH))
    made = gpt.batches.create(input_file_id="f1", endpoint="/v1/chat/completions", completion_window="24h")
    assert (made.id, gpt.batches.retrieve("batch_1").status) == ("batch_1", "validating")
    assert gpt.batches.cancel("batch_1").id == "batch_1"
    gateway.upstream.script = Script(body=plain({"object": "list", "data": [BATCH], "has_more": False}))
    assert [batch.id for batch in gpt.batches.list()] == ["batch_1"]
    gateway.upstream.script = Script(body=b'{"custom_id": "a"}\n', headers={"Content-Type": "application/octet-stream"})
    assert gpt.files.content("f1").read() == b'{"custom_id": "a"}\n'
    gateway.upstream.script = Script(body=plain({"id": "f1", "object": "file", "deleted": True}))
    assert gpt.files.delete("f1").deleted
    assert [seen.path for seen in gateway.upstream.seen][2:4] == ["/v1/batches/batch_1/cancel", "/v1/batches"]


def test_a_chat_client_gets_structure_and_tools_from_messages(gpt, gateway):
    gateway.upstream.script = Script(body=plain(message([{"type": "text", "text": CAR_TEXT}])))
    got = gpt.chat.completions.parse(model="claude-fake", messages=HI, response_format=Car)
    assert got.choices[0].message.parsed == CAR
    assert gateway.upstream.seen[0].json["output_config"]["format"]["type"] == "json_schema"
    two = [TOOL_USE, {**TOOL_USE, "id": "toolu_2", "name": "sell"}]
    gateway.upstream.script = Script(events=message_events(two, "tool_use"))
    with gpt.chat.completions.stream(model="claude-fake", messages=HI, tools=[TOOL]) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert [(call.id, call.function.name) for call in calls] == [("toolu_1", "find_car"), ("toolu_2", "sell")]


@pytest.mark.parametrize("model", ["fake-model", "claude-fake"])
def test_async_clients_at_servers_of_other_dialects(gateway, model):
    async def ask(client):
        whole = await client.responses.create(model=model, input="hi")
        async with client.responses.stream(model=model, input="hi") as stream:
            streamed = await stream.get_final_response()
        chat = await client.chat.completions.create(model="gpt-fake", messages=HI)
        return {whole.output_text, streamed.output_text, chat.choices[0].message.content}

    assert asked(gateway, ask) == {SAID}


@pytest.mark.parametrize("model", ["claude-fake", "fake-model"])
def test_responses_are_parsed_at_servers_of_other_dialects(gpt, gateway, model):
    if model == "claude-fake":
        gateway.upstream.script = Script(body=plain(message([{"type": "text", "text": CAR_TEXT}])))
    assert gpt.responses.parse(model=model, input="hi", text_format=Car).output_parsed == CAR
