import msgspec
from hypothesis import given
from hypothesis import strategies as st

from trimtab.plan import messages
from trimtab.trace import EncodedPayload, Payload, members


def read(request, response=None):
    return messages.read(Payload("c", request, response), {})


def test_anthropic_bodies_are_read_like_openais():
    request = {
        "system": [{"type": "text", "text": "Be brief."}],
        "tools": [{"name": "find", "input_schema": {}}],
        "messages": [
            {"role": "user", "content": "a car"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t", "name": "find", "input": {"b": 1, "a": 2}}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t", "content": "none", "is_error": True}],
            },
        ],
    }
    answer = {
        "content": [{"type": "text", "text": "Sorry."}, {"type": "tool_use", "id": "u", "name": "find", "input": {}}]
    }
    bodies = read(request, answer)
    assert [piece.role for piece in bodies.pieces] == ["definition", "system", "user", "assistant", "tool"]
    assert (bodies.pieces[0].name, bodies.pieces[1].text) == ("find", "Be brief.")
    assert bodies.pieces[3].calls[0].arguments == '{"a":2,"b":1}'
    assert (bodies.pieces[4].call_id, bodies.pieces[4].failed) == ("t", True)
    assert (bodies.text, bodies.asked[0].name, bodies.answered) == ("Sorry.", "find", True)


def test_responses_bodies_are_read_like_openais():
    request = {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a car"}]},
            {"type": "function_call", "call_id": "t", "name": "find", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "t", "output": '{"error": "busy"}'},
        ],
    }
    said = {"type": "message", "content": [{"type": "output_text", "text": "Sorry."}]}
    bodies = read(
        request, {"output": [said, {"type": "function_call", "call_id": "u", "name": "find", "arguments": "{}"}]}
    )
    assert [piece.role for piece in bodies.pieces] == ["system", "user", "assistant", "tool"]
    assert bodies.pieces[3].failed
    assert (bodies.text, bodies.asked[0].id) == ("Sorry.", "u")


def test_equal_requests_have_one_digest_whatever_the_order_and_the_coding():
    request = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 1}
    encoded = EncodedPayload("c", members(msgspec.json.encode(request, order="deterministic")), None)
    assert (
        messages.digest(request) == messages.digest(dict(reversed(request.items()))) == messages.digest(encoded.request)
    )
    assert messages.digest(request) != messages.digest({**request, "tools": []})
    assert messages.digest({"model": "m", "hash_ids": [1]}) == 0
    assert messages.block_ids({"hash_ids": [1, "x", 2]}) == [1, 2]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
names = st.sampled_from(["messages", "tools", "system", "input", "role", "content", "tool_calls", "function", "output"])
bodies = st.dictionaries(names, st.lists(st.dictionaries(names, json_values, max_size=3), max_size=3) | json_values)


@given(bodies, st.none() | bodies)
def test_bodies_of_any_shape_are_read_or_passed_over(request, response):
    read(request, response)


@given(st.text(), st.text(), st.text())
def test_common_is_the_length_of_the_common_beginning(head, one, other):
    found = messages.common(head + one, head + other)
    assert found >= len(head)
    assert (head + one)[:found] == (head + other)[:found]
    assert (head + one)[found : found + 1] != (head + other)[found : found + 1] or found == min(
        len(head + one), len(head + other)
    )
