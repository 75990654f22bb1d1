"""Translation as pure functions: what a round trip keeps, what is refused by name, and that no JSON breaks it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import RequestRefused
from trimtab.gateway.assembly import Assembly
from trimtab.gateway.dialects import translate_to_chat, translate_to_messages
from trimtab.gateway.dialects.crossing import Asked
from trimtab.gateway.dialects.messages import Message
from trimtab.gateway.dialects.table import _CROSSINGS
from trimtab.gateway.dialects.translate_from_chat import MESSAGES_TO_CHAT, Events
from trimtab.gateway.dialects.translate_from_messages import CHAT_TO_MESSAGES, Chunks

TEXT = st.text(min_size=1, max_size=12)
NAME = st.sampled_from(["find_car", "sell", "x"])
OBJECT = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXT, max_size=3)
SCHEMA = OBJECT.map(lambda held: {"type": "object", "properties": held})


def dropped(**members):
    return {name: held for name, held in members.items() if held is not None}


def maybe(strategy):
    return st.none() | strategy


PART = st.builds(lambda text: {"type": "text", "text": text}, TEXT) | st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
    ]
)
USER = st.builds(lambda parts: {"role": "user", "content": parts}, st.lists(PART, min_size=2, max_size=3))
CALL = st.builds(
    lambda name, held: {
        "id": "call_" + name,
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(held, ensure_ascii=False, separators=(",", ":"))},
    },
    NAME,
    OBJECT,
)
ASSISTANT = st.builds(
    lambda content, calls: {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})},
    TEXT,
    st.lists(CALL, max_size=2),
)
RESULT = st.builds(lambda content: {"role": "tool", "tool_call_id": "call_x", "content": content}, TEXT)


@st.composite
def turns(draw):
    """User and assistant in turn; results of tools before what the user says."""
    out = [draw(USER)]
    for _ in range(draw(st.integers(0, 3))):
        out += [draw(ASSISTANT), *draw(st.lists(RESULT, max_size=2)), draw(USER)]
    return out


TOOL = st.builds(
    lambda name, text, schema: {
        "type": "function",
        "function": dropped(name=name, description=text, parameters=schema),
    },
    NAME,
    maybe(TEXT),
    SCHEMA,
)
CHOICE = st.sampled_from(["auto", "none", "required", {"type": "function", "function": {"name": "sell"}}])
CHAT = st.builds(
    dropped,
    model=TEXT,
    messages=st.builds(
        lambda system, rest: ([{"role": "system", "content": system}] if system else []) + rest, maybe(TEXT), turns()
    ),
    max_completion_tokens=st.integers(1, 9999),
    temperature=maybe(st.floats(0, 1)),
    top_p=maybe(st.floats(0, 1)),
    stop=maybe(st.lists(TEXT, min_size=1, max_size=2)),
    tools=maybe(st.lists(TOOL, min_size=1, max_size=2)),
    tool_choice=maybe(CHOICE),
    user=maybe(TEXT),
    reasoning_effort=maybe(st.sampled_from(translate_to_messages.EFFORTS)),
    response_format=maybe(
        SCHEMA.map(
            lambda schema: {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            }
        )
    ),
)


@settings(max_examples=150, deadline=None)
@given(CHAT)
def test_a_chat_request_comes_back_as_it_was(body):
    there = translate_to_messages.request(json.loads(json.dumps(body)))
    back = translate_to_chat.request(there)
    assert back == body


# What each dialect's answers are made of
BLOCKS = st.builds(
    lambda thought, text, tools: [
        *([{"type": "thinking", "thinking": thought, "signature": ""}] if thought else []),
        *([{"type": "text", "text": text}] if text or not tools else []),
        *(
            {"type": "tool_use", "id": f"id{place}", "name": name, "input": held}
            for place, (name, held) in enumerate(tools)
        ),
    ],
    maybe(TEXT),
    TEXT,
    st.lists(st.tuples(NAME, OBJECT), max_size=3),
)
COUNTS = st.builds(
    lambda fresh, read, written, out: {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": out,
    },
    *[st.integers(1, 10**6)] * 4,
)


def whole(blocks, usage):
    stop = "tool_use" if blocks[-1]["type"] == "tool_use" else "end_turn"
    names = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    return {**names, "stop_reason": stop, "stop_sequence": None, "content": blocks, "usage": usage}


@settings(max_examples=100, deadline=None)
@given(BLOCKS, COUNTS)
def test_a_message_comes_back_as_it_was(blocks, usage):
    message = whole(blocks, usage)
    assert MESSAGES_TO_CHAT.answer(CHAT_TO_MESSAGES.answer(message, Asked()), Asked()) == message


def events(message, cut):
    """The message as a stream, its texts in pieces of `cut` characters."""
    begun = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(message["content"]):
        kind = {"tool_use": "input_json"}.get(block["type"], block["type"])
        text = json.dumps(block["input"]) if kind == "input_json" else block[kind]
        name = "partial_json" if kind == "input_json" else kind
        empty = {**block, "input": {}} if kind == "input_json" else {**block, kind: ""}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for start in range(0, len(text) if text != "{}" else 0, cut):
            delta = {"type": f"{kind}_delta", name: text[start : start + cut]}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": message["usage"]["output_tokens"]}}
    yield {"type": "message_stop"}


@settings(max_examples=100, deadline=None)
@given(BLOCKS, COUNTS, st.integers(1, 5))
def test_a_stream_says_what_the_plain_answer_says_and_comes_back_as_it_was(blocks, usage, cut):
    message = whole(blocks, usage)
    there, chat = Chunks(7), Assembly()
    back, reading = Events(), Message()
    for event in events(message, cut):
        for turned in there.add(event):
            if turned:
                chat.add(turned)
            for again in back.add(turned) if turned else back.end():
                reading.add(again)
    assert reading.answer() == message
    plain = CHAT_TO_MESSAGES.answer(message, Asked())
    said, expected = chat.answer()["choices"][0]["message"], plain["choices"][0]["message"]
    for call in [*said.get("tool_calls", []), *expected.get("tool_calls", [])]:
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    assert {**said, "content": said["content"] or None, "refusal": None} == {
        **expected,
        "content": expected["content"] or None,
    }
    assert chat.usage == plain["usage"]
    assert chat.finish_reason == plain["choices"][0]["finish_reason"]


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ({"seed": 1}, "seed"),
        ({"n": 2}, "n"),
        ({"temperature": 1.5}, "temperature"),
        ({"logprobs": True}, "logprobs"),
        ({"something_new": 1}, "something_new"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
        ({"messages": [{"role": "user", "content": "a", "name": "Bob"}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "assistant", "content": None, "refusal": "no"}]}, "messages[0].refusal"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]}
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_what_messages_cannot_say_is_named(member, name):
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], **member}
    with pytest.raises(RequestRefused) as refused:
        translate_to_messages.request(body)
    assert refused.value.param == name and name in str(refused.value)


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ({"top_k": 5}, "top_k"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, "thinking.type"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"output_config": {"effort": "max"}}, "output_config.effort"),
        ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "tool_result"}]}]},
            "messages[0].content[1].type",
        ),
    ],
)
def test_what_chat_cannot_say_is_named(member, name):
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "a"}], **member}
    with pytest.raises(RequestRefused) as refused:
        translate_to_chat.request(body)
    assert refused.value.param == name and name in str(refused.value)


def test_results_of_tools_stand_together_and_failures_are_said_in_words():
    result = {
        "type": "tool_result",
        "tool_use_id": "a",
        "is_error": True,
        "content": [{"type": "text", "text": "gone"}],
    }
    asked = {
        "role": "user",
        "content": [result, {**result, "tool_use_id": "b", "is_error": False}, {"type": "text", "text": "so?"}],
    }
    chat = translate_to_chat.request({"model": "m", "max_tokens": 1, "messages": [asked]})["messages"]
    assert chat == [
        {"role": "tool", "tool_call_id": "a", "content": "Error: gone"},
        {"role": "tool", "tool_call_id": "b", "content": "gone"},
        {"role": "user", "content": "so?"},
    ]
    (back,) = translate_to_messages.request({"model": "m", "messages": chat})["messages"]
    assert [block["type"] for block in back["content"]] == ["tool_result", "tool_result", "text"]


def test_one_tool_at_a_time():
    body = {
        "model": "m",
        "messages": [],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "parallel_tool_calls": False,
    }
    there = translate_to_messages.request(body)
    assert there["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert translate_to_chat.request(there)["parallel_tool_calls"] is False


def test_cache_marks_are_kept_on_the_way_to_messages():
    mark = {"type": "ephemeral"}
    part = {"type": "text", "text": "a", "cache_control": mark}
    there = translate_to_messages.request({"model": "m", "messages": [{"role": "system", "content": [part]}]})
    assert there["system"] == [part]


def test_a_bound_is_set_where_chat_has_none():
    assert (
        translate_to_messages.request({"model": "m", "messages": []})["max_tokens"] == translate_to_messages.MAX_TOKENS
    )


WORDS = [
    "model",
    "messages",
    "role",
    "content",
    "type",
    "text",
    "tools",
    "function",
    "name",
    "parameters",
    "input_schema",
    "tool_choice",
    "system",
    "stop",
    "usage",
    "id",
    "stop_sequences",
    "max_tokens",
    "stream",
    "tool_calls",
    "arguments",
    "image_url",
    "url",
    "source",
    "data",
    "media_type",
    "tool_use_id",
    "choices",
    "delta",
    "index",
    "finish_reason",
    "message",
    "stop_reason",
    "content_block",
    "partial_json",
    "thinking",
    "output_config",
    "format",
    "response_format",
]
KINDS = [
    "user",
    "assistant",
    "system",
    "tool",
    "text",
    "tool_use",
    "tool_result",
    "image",
    "image_url",
    "function",
    "auto",
    "base64",
    "thinking",
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "text_delta",
    "input_json_delta",
    "end_turn",
    "stop",
    "tool_calls",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.floats() | st.text(max_size=3) | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=30,
)
BODY = st.dictionaries(st.sampled_from(WORDS), JSON, max_size=6)


@pytest.mark.parametrize("crossing", _CROSSINGS.values(), ids=lambda crossing: type(crossing).__name__)
@settings(max_examples=300, deadline=None)
@given(body=BODY, chunks=st.lists(BODY, max_size=6))
def test_any_json_is_translated_or_refused(crossing, body, chunks):
    for work in (lambda: crossing.request(body), lambda: crossing.answer(body, Asked(body))):
        try:
            assert json.dumps(work())
        except RequestRefused as refused:
            assert refused.status == 400
    turning = crossing.turning(Asked(body))
    try:
        for chunk in chunks:
            for event in turning.add(chunk):
                assert crossing.encode(event).endswith(b"\n\n")
        for event in turning.end():
            assert crossing.encode(event).endswith(b"\n\n")
    except RequestRefused as refused:
        assert refused.code == "not_translatable"
