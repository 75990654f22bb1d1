"""The `anthropic` SDK and the rest of the `openai` SDK, unchanged, against the gateway: each in its own dialect."""

import asyncio

import anthropic
import openai
import pytest
from pydantic import BaseModel

from tests.gateway.dialects.answers import INPUT, WORDS, message, message_events, plain, response, response_events
from tests.gateway.upstream import Script

SAID = "".join(WORDS)
ASK = {"model": "claude-fake", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"name": "find_car", "input_schema": {"type": "object", "properties": {}}}
FUNCTION = {"type": "function", "name": "find_car", "parameters": {"type": "object", "properties": {}}, "strict": True}


class Car(BaseModel):
    make: str
    doors: int


def test_messages_plain(claude, gateway):
    answer = claude.messages.create(**ASK)
    assert (answer.content[0].text, answer.stop_reason, answer.usage.cache_read_input_tokens) == (SAID, "end_turn", 600)
    assert gateway.upstream.seen[0].headers["Authorization"] == "Bearer sk-x"


def test_messages_streamed(claude):
    with claude.messages.stream(**ASK) as stream:
        assert "".join(stream.text_stream) == SAID
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 10)
    assert [event.type for event in claude.messages.create(**ASK, stream=True)][-1] == "message_stop"


def test_messages_tools(claude):
    plain_ = claude.messages.create(**ASK, tools=[TOOL])
    with claude.messages.stream(**ASK, tools=[TOOL]) as stream:
        streamed = stream.get_final_message()
    for answer in (plain_, streamed):
        assert [block.type for block in answer.content] == ["thinking", "tool_use"]
        assert (answer.content[1].input, answer.stop_reason) == (INPUT, "tool_use")


def test_messages_structured_output(claude, gateway):
    content = [{"type": "text", "text": '{"make": "Ford", "doors": 4}'}]
    gateway.upstream.script = Script(body=plain(message(content)))
    assert claude.messages.parse(**ASK, output_format=Car).parsed_output == Car(make="Ford", doors=4)


def test_count_tokens(claude):
    assert claude.messages.count_tokens(model="claude-fake", messages=ASK["messages"]).input_tokens == 42


def test_messages_async(gateway):
    async def ask():
        url = gateway.url.removesuffix("/v1")
        async with anthropic.AsyncAnthropic(base_url=url, api_key="sk-x", max_retries=0, timeout=20) as client:
            async with client.messages.stream(**ASK) as stream:
                pieces = [piece async for piece in stream.text_stream]
            many = await asyncio.gather(*(client.messages.create(**ASK) for _ in range(10)))
            return "".join(pieces), {one.content[0].text for one in many}

    assert asyncio.run(ask()) == (SAID, {SAID})


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, anthropic.AuthenticationError), (429, anthropic.RateLimitError), (500, anthropic.InternalServerError)],
)
def test_errors_of_messages_are_the_sdks_own(claude, gateway, status, error):
    gateway.upstream.script = Script(status=status, body=b"nothing of sense")
    with pytest.raises(error, match="look at its own log"):
        claude.messages.create(**ASK)


def test_an_unknown_model_is_not_found(claude):
    with pytest.raises(anthropic.NotFoundError, match="claude-fake"):
        claude.messages.create(**{**ASK, "model": "none"})


def test_a_cut_message_raises(claude, gateway):
    gateway.upstream.script = Script(events=message_events()[:6], end="abort")
    with pytest.raises(anthropic.APIStatusError, match="before the answer was whole"):
        list(claude.messages.create(**ASK, stream=True))


def test_responses_plain_and_structured(gpt, gateway):
    answer = gpt.responses.create(model="gpt-fake", input="hi", previous_response_id="resp_0")
    assert (answer.output_text, answer.usage.input_tokens_details.cached_tokens) == (SAID, 600)
    assert gateway.upstream.seen[0].json["previous_response_id"] == "resp_0"
    assert gpt.responses.parse(model="gpt-fake", input="hi", text_format=Car).output_parsed == Car(make="Ford", doors=4)


def test_responses_streamed(gpt):
    with gpt.responses.stream(model="gpt-fake", input="hi") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert "".join(deltas) == SAID == stream.get_final_response().output_text


def test_responses_tools(gpt):
    plain_ = gpt.responses.create(model="gpt-fake", input="hi", tools=[FUNCTION])
    with gpt.responses.stream(model="gpt-fake", input="hi", tools=[FUNCTION]) as stream:
        streamed = stream.get_final_response()
    assert plain_.output[0].name == streamed.output[0].name == "find_car"


def test_a_cut_response_raises(gpt, gateway):
    gateway.upstream.script = Script(events=response_events()[:8], end="abort")
    with pytest.raises(openai.APIError, match="before the answer was whole"):
        list(gpt.responses.create(model="gpt-fake", input="hi", stream=True))


def test_responses_are_fetched_and_deleted_by_id(gpt, gateway):
    gateway.upstream.script = Script(body=plain(response()))
    assert gpt.responses.retrieve("resp_1").output_text == SAID


def test_embeddings_and_completions(gpt):
    vectors = gpt.embeddings.create(model="embed-fake", input="a", encoding_format="float")
    assert vectors.data[0].embedding == [0.25, -1.5]
    assert gpt.completions.create(model="text-fake", prompt="a").choices[0].text == SAID
    chunks = list(gpt.completions.create(model="text-fake", prompt="a", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == SAID


def test_files(gpt, gateway):
    file = {"id": "f1", "object": "file", "bytes": 3, "created_at": 1, "filename": "a", "purpose": "batch"}
    gateway.upstream.script = Script(body=plain({**file, "status": "processed"}))
    assert gpt.files.create(file=("a.jsonl", b"{}\n"), purpose="batch").id == "f1"
    assert b"{}\n" in gateway.upstream.seen[0].body


def test_responses_and_embeddings_async(gateway):
    async def ask():
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key="sk-x", max_retries=0, timeout=20) as client:
            answer = await client.responses.create(model="gpt-fake", input="hi")
            stream = await client.responses.create(model="gpt-fake", input="hi", stream=True)
            kinds = [event.type async for event in stream]
            vectors = await client.embeddings.create(model="embed-fake", input="a", encoding_format="float")
            return answer.output_text, kinds[-1], vectors.usage.total_tokens

    assert asyncio.run(ask()) == (SAID, "response.completed", 1000)
