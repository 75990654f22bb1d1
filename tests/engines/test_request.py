import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.engines.request import ChatRequest, read_chat, read_text
from trimtab.errors import RequestRefused

USER = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}


def chat(**fields) -> ChatRequest:
    return read_chat(json.dumps({"model": "m", "messages": USER, **fields}).encode())


def refusal(**fields) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        chat(**fields)
    assert caught.value.status == 400
    assert "\n" not in str(caught.value)
    return caught.value


def test_defaults() -> None:
    request = chat()
    assert request.options.max_tokens is None
    assert not request.options.stream
    assert not request.options.sampling.greedy
    assert request.grammar is None


def test_fields_reach_their_place() -> None:
    request = chat(
        temperature=0, max_tokens=3, max_completion_tokens=4, stop="x", seed=-1, tools=[TOOL], future={"a": 1}
    )
    assert request.options.sampling.greedy
    assert request.options.max_tokens == 4
    assert request.options.stop == ("x",)
    assert 0 <= request.options.sampling.seed < 2**63
    assert request.tools == [TOOL]


def test_two_requests_without_a_seed_differ() -> None:
    assert chat().options.sampling.seed != chat().options.sampling.seed


def test_what_asks_for_nothing_is_let_through() -> None:
    chat(n=1, logit_bias={}, audio=None, modalities=["text"], response_format={"type": "text"}, stream_options=None)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ({"n": 2}, "n"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"functions": []}, "functions"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"seed": "x"}, "seed"),
        ({"stop": [""]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 2, "temperature": 0}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 1}, "top_logprobs"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_object"}, "tools": [TOOL]}, "response_format"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [TOOL, TOOL]}, "tools[1].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
    ],
)
def test_refused_by_name(fields: dict, param: str) -> None:
    assert refusal(**fields).param == param


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ("x", ""),
        ({"type": "array"}, ""),
        ({"type": "object", "properties": []}, ".properties"),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, ".properties.a.type"),
        ({"type": "object", "properties": {"a": {"type": "array", "items": 3}}}, ".properties.a.items"),
        ({"type": "object", "properties": {"a": {"enum": []}}}, ".properties.a.enum"),
        ({"type": "object", "required": "a"}, ".required"),
        ({"type": "object", "properties": {"a": {"anyOf": []}}}, ".properties.a.anyOf"),
    ],
)
def test_a_tool_with_an_invalid_schema(parameters, param: str) -> None:
    error = refusal(tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}])
    assert error.code == "invalid_schema"
    assert error.param == "tools[0].function.parameters" + param


def test_tool_choice() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    assert chat(tools=[TOOL], tool_choice="none").tools == []
    assert chat(tools=[TOOL], tool_choice="auto").grammar is None
    required = chat(tools=[TOOL, other], tool_choice="required").grammar
    assert required is not None
    assert [tag.begin for tag in required.tags] == [
        '<tool_call>\n{"name": "find", "arguments": ',
        '<tool_call>\n{"name": "other", "arguments": ',
    ]
    assert not required.only_one
    named = chat(tools=[TOOL, other], tool_choice={"type": "function", "function": {"name": "other"}}).grammar
    assert named is not None
    assert len(named.tags) == 1
    assert named.only_one


def test_text_completion() -> None:
    assert read_text(b'{"model": "m", "prompt": ["a"]}').prompt == "a"
    assert read_text(b'{"model": "m", "prompt": [[1, 2]]}').prompt == [1, 2]
    for prompt in ("", [], ["a", "b"], [1, "a"], [-1], None, [2**31]):
        with pytest.raises(RequestRefused):
            read_text(json.dumps({"model": "m", "prompt": prompt}).encode())


def test_no_json() -> None:
    for body in (b"", b"{", b"[]", b"\xff", b'{"model": "\\ud800"}', b"[" * 100_000):
        with pytest.raises(RequestRefused) as caught:
            read_chat(body)
        assert caught.value.status == 400


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
schemas = st.recursive(
    st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "null", "x"])}) | values,
    lambda inner: st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(st.text(max_size=4), inner, max_size=3)},
        optional={"required": values, "items": inner, "anyOf": st.lists(inner, max_size=2), "$ref": values},
    ),
    max_leaves=6,
)
# fmt: off
NAMES = [
    "model", "messages", "tools", "tool_choice", "temperature", "top_p", "top_k", "min_p", "seed", "stop",
    "n", "logprobs", "top_logprobs", "stream", "max_tokens", "stream_options", "response_format",
    "chat_template_kwargs", "presence_penalty", "parallel_tool_calls", "prompt", "echo",
]
# fmt: on
bodies = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, values)) | st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "messages": st.just(USER)
        | st.lists(st.fixed_dictionaries({"role": st.just("user")}, optional={"content": values})),
        "tools": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.just("function"),
                    "function": st.fixed_dictionaries({"name": st.just("f")}, optional={"parameters": schemas}),
                }
            ),
            max_size=1,
        ),
        "tool_choice": st.sampled_from(["auto", "required"]) | values,
    },
    optional={"response_format": st.fixed_dictionaries({"type": st.just("json_schema"), "json_schema": values})},
)


@given(bodies | values)
def test_arbitrary_json_is_read_or_refused(body) -> None:
    data = json.dumps(body).encode()
    for read in (read_chat, read_text):
        try:
            read(data)
        except RequestRefused as error:
            assert str(error)
