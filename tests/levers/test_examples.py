"""Calls as texts: each dialect says the same, and bodies of any shape are read or passed over."""

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.levers import examples
from trimtab.trace import Call, EndState, Payload

CALL = Call(id="1", trace_id="t", span_id="s", started_ns=0, duration_ms=1.0, end=EndState.COMPLETE)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["messages", "input", "prompt", "system", "tools", "choices", "content", "output", "message"])


def of(request, response, call=CALL):
    return examples.of(call, Payload("1", request, response))


def test_the_dialects_say_the_same():
    chat = of(
        {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]},
        {"choices": [{"message": {"role": "assistant", "content": "hi"}}]},
    )
    messages = of(
        {"system": [{"type": "text", "text": "be brief"}], "messages": [{"role": "user", "content": "hello"}]},
        {"type": "message", "content": [{"type": "text", "text": "hi"}]},
    )
    responses = of(
        {"instructions": "be brief", "input": "hello"},
        {"object": "response", "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]},
    )
    for found in (chat, messages, responses):
        assert (found.head, found.turns, found.answer) == ("be brief", ("hello",), "hi")
    plain = of({"prompt": "hello"}, {"choices": [{"text": "hi"}]})
    assert (plain.turns, plain.answer) == (("hello",), "hi")


def test_tool_calls_are_read_in_one_form():
    tools = [{"type": "function", "function": {"name": "find", "parameters": {}}}]
    ask = {"messages": [{"role": "user", "content": "a red car"}], "tools": tools}
    spaced = {"id": "1", "function": {"name": "find", "arguments": '{"b": 1,  "a": 2}'}}
    chat = of(ask, {"choices": [{"message": {"content": None, "tool_calls": [spaced]}}]})
    blocks = of(ask, {"content": [{"type": "tool_use", "name": "find", "input": {"a": 2, "b": 1}}]})
    assert chat.calls == blocks.calls == (("find", '{"a":2,"b":1}'),)
    assert chat.output == 'find {"a":2,"b":1}'
    assert set(chat.tools) == {"find"} and '"find"' in chat.head


def test_what_no_model_answered_for_a_user_is_left_out():
    said = {"choices": [{"message": {"content": "hi"}}]}
    asked = {"messages": [{"role": "user", "content": "hello"}]}
    for fields in ({"tags": {"trimtab.cache": "hit"}}, {"tags": {"trimtab.shadow": "x"}}, {"end": EndState.CUT}):
        given_ = {"end": EndState.COMPLETE, **fields}
        call = Call(id="1", trace_id="t", span_id="s", started_ns=0, duration_ms=1.0, **given_)
        assert of(asked, said, call) is None
    assert of(asked, None) is None
    assert of(asked, said) is not None


@settings(max_examples=150)
@given(st.dictionaries(NAMES, JSON, max_size=4), st.dictionaries(NAMES, JSON, max_size=4))
def test_bodies_of_any_shape_are_read_or_passed_over(request, response):
    found = of(request, response)
    assert found is None or (isinstance(found.prompt, str) and (found.answer or found.calls))


@settings(max_examples=100)
@given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "type"]), JSON), max_size=3))
def test_turns_of_any_shape_are_read_or_passed_over(turns):
    of({"messages": turns}, {"choices": [{"message": turn} for turn in turns]})
