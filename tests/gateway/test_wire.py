"""The span editor against msgspec, and the providers' usage against the neutral one."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import RequestRefused
from trimtab.gateway import wire
from trimtab.gateway.dialects.chat import CHAT

KEYS = st.sampled_from(["model", "stream", "stream_options", "tëxt", 'quo"te', "back\\slash", "", "n", "{", "a,b"])
LEAVES = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
SPACE = st.text(" \t\n\r", max_size=3)


@st.composite
def objects(draw):
    """JSON objects as clients write them: any spacing, escapes or not, keys twice."""
    members = []
    for key, value in draw(st.lists(st.tuples(KEYS, VALUES), max_size=6)):
        name = json.dumps(key, ensure_ascii=draw(st.booleans()))
        if draw(st.booleans()) and key:
            name = f'"\\u{ord(key[0]):04x}' + json.dumps(key[1:], ensure_ascii=True)[1:]
        text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
        members.append(f"{draw(SPACE)}{name}{draw(SPACE)}:{draw(SPACE)}{text}{draw(SPACE)}")
    return f"{draw(SPACE)}{{{','.join(members) or draw(SPACE)}}}{draw(SPACE)}".encode("utf-8", "surrogatepass")


def decodes(body):
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


@settings(max_examples=300, deadline=None)
@given(objects(), KEYS, VALUES)
def test_replacing_changes_one_value_and_no_other_byte(body, key, value):
    before = decodes(body)
    if before is None:
        return
    text = msgspec.json.encode(value)
    after = wire.replaced(body, key, text)
    assert msgspec.json.decode(after) == {**before, key: msgspec.json.decode(text)}
    if key in before:
        pieces = [(start, end) for name, start, end in wire.members(body) if name == key]
        kept, at = [], 0
        for start, end in pieces:
            kept.append(body[at:start])
            at = end
        assert after == text.join([*kept, body[at:]])
    else:
        close = body.rindex(b"}")
        head = body[:close].rstrip(b" \t\n\r")
        assert after.startswith(head) and after.endswith(body[len(head) :])


@settings(max_examples=200, deadline=None)
@given(objects())
def test_members_find_every_value(body):
    whole = decodes(body)
    if whole is None:
        return
    found = list(wire.members(body))
    assert {name: msgspec.json.decode(body[start:end]) for name, start, end in found} == whole
    assert [name for name, _, _ in found] == [name for name, _ in json.loads(body, object_pairs_hook=list)]


def test_a_body_that_needs_no_change_is_the_same_object():
    body = b'{ "model" : "m", "messages": [] }'
    assert CHAT.outgoing(body, wire.head(body), "m") is body
    assert CHAT.outgoing(body, wire.head(body), "") is body


def test_only_the_models_name_changes():
    body = b'{"temperature":1.0, "model" : "mine" ,"x":{"model":"mine"},"cache_control":null}'
    expected = b'{"temperature":1.0, "model" : "theirs" ,"x":{"model":"mine"},"cache_control":null}'
    assert CHAT.outgoing(body, wire.head(body), "theirs") == expected


@pytest.mark.parametrize(
    ("given_options", "sent_options"),
    [
        (b"", b',"stream_options":{"include_usage":true}'),
        (b',"stream_options": null', b',"stream_options": {"include_usage":true}'),
        (b',"stream_options":{"a": 1}', b',"stream_options":{"a": 1,"include_usage":true}'),
        (b',"stream_options":{"include_usage" : false}', b',"stream_options":{"include_usage" : true}'),
        (b',"stream_options":{"include_usage":true }', b',"stream_options":{"include_usage":true }'),
    ],
)
def test_streams_are_asked_for_usage(given_options, sent_options):
    body = b'{"model":"m","stream":true' + given_options + b"}\n"
    assert CHAT.outgoing(body, wire.head(body), "m") == b'{"model":"m","stream":true' + sent_options + b"}\n"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"nope", b'{"model":1}', b'{"messages":[]}', b"[" * 5000, b'{"model":"\xff"}']
)
def test_a_body_that_is_no_request_is_refused(body):
    with pytest.raises(RequestRefused) as refused:
        wire.head(body)
    assert refused.value.status == 400
