"""Clients of responses at a chat server: as pure functions, and with the real SDK over real sockets."""

import json

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.gateway.dialects.answers import INPUT
from tests.gateway.dialects.test_translate import CHAT, NAME, OBJECT, TEXT
from tests.gateway.upstream import TEXT as EVENTS
from tests.gateway.upstream import USAGE, WORDS, Script, answer
from trimtab.errors import RequestRefused
from trimtab.gateway.dialects import translate_responses_request
from trimtab.gateway.dialects.crossing import Asked
from trimtab.gateway.dialects.responses import Response
from trimtab.gateway.dialects.translate_responses_answer import RESPONSES_TO_CHAT, Events
from trimtab.trace import EndState

SAID = "".join(WORDS)
ASK = {"model": "fake-model", "input": "hi"}
FUNCTION = {"type": "function", "name": "find_car", "parameters": {"type": "object", "properties": {}}, "strict": True}


class Car(BaseModel):
    make: str
    doors: int


def test_plain(gpt, gateway):
    got = gpt.responses.create(**ASK, instructions="Be brief.", temperature=0.5)
    assert (got.output_text, got.status, got.usage.input_tokens_details.cached_tokens) == (SAID, "completed", 600)
    assert (got.instructions, got.temperature) == ("Be brief.", 0.5)
    seen = gateway.upstream.seen[0]
    assert seen.path == "/v1/chat/completions"
    assert seen.json["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]


def test_structured_output(gpt):
    assert gpt.responses.parse(**ASK, text_format=Car).output_parsed == Car(make="Ford", doors=4)


def test_streamed(gpt):
    with gpt.responses.stream(**ASK) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == SAID
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (final.output_text, final.usage.input_tokens) == (SAID, 1000)


def test_a_loop_with_tools(gpt, gateway):
    first = gpt.responses.create(**ASK, tools=[FUNCTION])
    with gpt.responses.stream(**ASK, tools=[FUNCTION]) as stream:
        second = stream.get_final_response()
    for got in (first, second):
        (call,) = got.output
        assert (call.call_id, call.name, json.loads(call.arguments)) == ("call_1", "find_car", INPUT)
    result = {"type": "function_call_output", "call_id": "call_1", "output": "none"}
    gpt.responses.create(model="fake-model", input=[{"role": "user", "content": "hi"}, *first.output, result])
    asked, called, told = gateway.upstream.seen[-1].json["messages"]
    assert (asked["role"], called["tool_calls"][0]["id"]) == ("user", "call_1")
    assert told == {"role": "tool", "tool_call_id": "call_1", "content": "none"}


@pytest.mark.parametrize("stream", [False, True])
def test_usage_is_the_providers_own(gateway, stream):
    call, payload = gateway.call(gateway.ask({**ASK, "stream": stream}, path="/v1/responses")[1])
    assert (call.end, call.raw_usage, call.finish_reason) == (EndState.COMPLETE, USAGE, "completed")
    assert payload.response["output"][0]["content"][0]["text"] == SAID


def test_an_answer_at_its_bound_is_incomplete(gateway):
    gateway.upstream.script = Script(body=answer(finish="length"))
    _, headers, content = gateway.ask(ASK, path="/v1/responses")
    got = json.loads(content)
    assert (got["status"], got["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert gateway.call(headers)[0].finish_reason == "max_output_tokens"


def test_a_cut_stream_raises(gpt, gateway):
    gateway.upstream.script = Script(events=EVENTS[:4], end="abort")
    with pytest.raises(openai.APIError, match="before the answer was whole"):
        list(gpt.responses.create(**ASK, stream=True))


def test_what_is_stored_elsewhere_is_refused(gpt, gateway):
    with pytest.raises(openai.BadRequestError, match="previous_response_id cannot be put into chat"):
        gpt.responses.create(**ASK, previous_response_id="resp_0")
    assert not gateway.upstream.seen


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ({"store": True}, "store"),
        ({"conversation": "c"}, "conversation"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "reasoning", "id": "x", "encrypted_content": "x"}]}, "input[0].encrypted_content"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]}, "input[1].role"),
    ],
)
def test_what_chat_cannot_say_is_named(member, name):
    with pytest.raises(RequestRefused) as refused:
        translate_responses_request.request({**ASK, **member})
    assert refused.value.param == name


MESSAGE = st.builds(
    lambda thought, text, tools: {
        "role": "assistant",
        "content": text,
        **({"reasoning_content": thought} if thought else {}),
        "tool_calls": [
            {
                "index": place,
                "id": f"id{place}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(held)},
            }
            for place, (name, held) in enumerate(tools)
        ],
    },
    st.none() | TEXT,
    TEXT,
    st.lists(st.tuples(NAME, OBJECT), max_size=3),
)


def chunks(message, cut):
    """The message as a stream, its texts in pieces of `cut` characters."""
    deltas = []
    for name in ("reasoning_content", "content"):
        text = message.get(name) or ""
        deltas += [{name: text[at : at + cut]} for at in range(0, len(text), cut)]
    for call in message["tool_calls"]:
        text = call["function"]["arguments"]
        deltas.append({"tool_calls": [{**call, "function": {**call["function"], "arguments": ""}}]})
        pieces = [text[at : at + cut] for at in range(0, len(text), cut)]
        deltas += [{"tool_calls": [{"index": call["index"], "function": {"arguments": piece}}]} for piece in pieces]
    head = {"id": "c1", "model": "m"}
    yield from ({**head, "choices": [{"index": 0, "delta": delta}]} for delta in deltas)
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield {**head, "choices": [], "usage": USAGE}


@settings(max_examples=100, deadline=None)
@given(MESSAGE, st.integers(1, 5))
def test_a_stream_says_what_the_plain_answer_says(message, cut):
    asked = Asked(ASK, 7)
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    plain = RESPONSES_TO_CHAT.answer({"id": "c1", "model": "m", "choices": [choice], "usage": USAGE}, asked)
    turning, reading, pieces = Events(asked), Response(), Response()
    for chunk in chunks(message, cut):
        for event in turning.add(chunk):
            reading.add(event)
            pieces.add(event)
    for event in turning.end():
        reading.add(event)
    assert reading.finished and reading.answer() == plain
    # What the events said on the way is what the last one says.
    assert not pieces.finished
    texts = [item["content"][0]["text"] for item in pieces.answer()["output"] if "content" in item]
    assert texts == [item["content"][0]["text"] for item in plain["output"] if "content" in item]


@settings(max_examples=100, deadline=None)
@given(CHAT)
def test_the_words_of_a_conversation_are_kept(body):
    """Chat's own messages, written as items, come back as they were."""
    items = []
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        if role == "tool":
            items.append({"type": "function_call_output", "call_id": message["tool_call_id"], "output": content})
            continue
        kind = "output_text" if role == "assistant" else "input_text"
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        items.append({"role": role, "content": [as_part(part, kind) for part in parts]})
        for call in message.get("tool_calls", []):
            items.append({"type": "function_call", "call_id": call["id"], **call["function"]})
    assert translate_responses_request.request({"model": "m", "input": items})["messages"] == body["messages"]


def as_part(part, kind):
    if part["type"] == "text":
        return {"type": kind, "text": part["text"]}
    if part["type"] == "file":
        return {"type": "input_file", **part["file"]}
    return {"type": "input_image", "image_url": part["image_url"]["url"]}


def test_thoughts_that_led_to_nothing_are_not_lost():
    thought = {"type": "reasoning", "id": "r", "content": [{"type": "reasoning_text", "text": "Hm."}]}
    messages = translate_responses_request.request(
        {"model": "m", "input": [thought, {"role": "user", "content": "a"}, thought]}
    )["messages"]
    alone = {"role": "assistant", "content": None, "reasoning_content": "Hm."}
    assert messages == [alone, {"role": "user", "content": "a"}, alone]
