"""Bodies that stay JSON texts up to the disk lose the same secrets, and are read back as what they were."""

import json
from random import Random

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.store.samples import make_record
from tests.store.test_redaction import PEM, SECRETS, TOKEN
from trimtab.store import redaction
from trimtab.store.entry import Entry, entry_of, line_of
from trimtab.store.redaction import _scrub_field, scrub, scrub_text
from trimtab.store.rows import payload_of, payload_row
from trimtab.store.traces import TraceReader, TraceWriter
from trimtab.trace import UNREADABLE, EncodedPayload, Payload, Record, json_value, members

CALL = make_record(1).call
NAMES = ["messages", "tools", "input", "password", "user", "Api_Key", "x-api-key", "api_\u212aey", "AUTHORIZATION", "é"]
PARTS = [
    *SECRETS,
    PEM,
    f"Bearer {TOKEN}",
    "api_\u212aey = abcdefgh1",
    "secret-key: '",
    TOKEN,
    "password=",
    "access_",
    "😀",
]
texts = st.lists(st.text(max_size=6) | st.sampled_from([*PARTS, " ", "\n", '"', "\\", "\t", "x" * 70]), max_size=4)
strings = texts.map("".join)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
names = st.sampled_from(NAMES) | strings
# An object is a tuple of pairs: JSON may have a key twice.
values = st.recursive(
    strings | numbers | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(names, inner), max_size=3).map(lambda pairs: (*pairs,))
    ),
    max_leaves=8,
)
objects = st.lists(st.tuples(names, values), max_size=5).map(lambda pairs: (*pairs,))


def written(value, random):
    """`value` as JSON, with escapes and blanks wherever `random` wants them."""
    blank = random.choice(["", "", " ", "\n "])
    if isinstance(value, tuple):
        members_of = [f"{written(name, random)}{blank}:{blank}{written(item, random)}" for name, item in value]
        return "{" + f"{blank},".join(members_of) + blank + "}"
    if isinstance(value, list):
        return f"[{blank}" + f",{blank}".join(written(item, random) for item in value) + "]"
    if isinstance(value, str):
        often = random.choice([0.0, 0.05, 1.0])
        return f'"{"".join(escaped(char, random.random() < often) for char in value)}"'
    return json.dumps(value)


def escaped(char, wanted):
    if not wanted and char not in '"\\' and ord(char) >= 0x20:
        return char
    if not wanted:
        return json.dumps(char)[1:-1]
    return "".join(f"\\u{unit:04x}" for unit in memoryview(char.encode("utf-16-le")).cast("H"))


def strings_in(text):
    """Every string and key of the JSON `text`, also those that a later key of the same name hides, with the key."""
    found = []

    def pairs(given):
        found.extend((name, item) for name, item in given)
        return [item for _, item in given]

    def walk(value, name=""):
        for item in value if isinstance(value, list) else ():
            found.append((name, item))
            walk(item)

    walk([json.loads(text, object_pairs_hook=pairs)])
    for _, item in list(found):
        walk(item)
    return [(name, item) for name, item in found if isinstance(item, str)]


def scrubbed(text, response=None):
    return scrub(Record(CALL, EncodedPayload("c", members(text), response))).payload


@settings(max_examples=400)
@given(objects, st.randoms(use_true_random=False))
@example((("metadata", (("password", "hunter22"), ("password", 1))),), Random(1))
@example((("messages", [f"sk-{TOKEN}"]), ("messages", ["later"])), Random(1))
def test_an_encoded_body_is_scrubbed_as_if_each_of_its_strings_were_searched(body, random):
    text = written(body, random).encode()
    plain = msgspec.json.decode(text)
    wanted = {name: _scrub_field(name, value, scrub_text) for name, value in plain.items()}
    seen = {item for _, item in strings_in(msgspec.json.encode(wanted))}
    for _ in range(2):
        payload = scrubbed(text, members(text))
        assert payload.decoded() == Payload("c", wanted, wanted)
        _, request, response = payload_row(payload)
        assert payload_of("c", request, response) == Payload("c", wanted, wanted)
        for name, item in strings_in(msgspec.json.encode(payload.request)):
            assert item in seen or _scrub_field(name, item, scrub_text) == item
    assert scrub(Record(CALL, Payload("c", plain, plain))).payload == Payload("c", wanted, wanted)


@given(objects, st.randoms(use_true_random=False))
def test_an_encoded_body_comes_out_of_the_spill_as_it_went_in(body, random):
    text = written(body, random).encode()
    for response in (None, members(text)):
        payload = EncodedPayload("c", members(text), response)
        line = line_of(Entry(Record(CALL, payload)))
        assert line.count(b"\n") == 1
        back = entry_of(line).record
        assert back.call == CALL and back.payload.decoded() == scrub(Record(CALL, payload)).payload.decoded()


@given(objects, st.randoms(use_true_random=False))
def test_the_members_of_a_body_are_those_of_its_object(body, random):
    text = written(body, random).encode()
    assert {name: json_value(held) for name, held in members(text).items()} == msgspec.json.decode(text)


@given(st.binary() | st.text().map(str.encode) | st.sampled_from([b"[1]", b"7", b"null", b'{"a":"\xff"}', b'{"a":1']))
def test_what_is_no_object_has_no_members(body):
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        decoded = None
    if not isinstance(decoded, dict):
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            members(body)


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 5000])
def test_a_number_that_is_too_large_costs_neither_the_rest_nor_the_search(number):
    text = b'{"n":%s,"a":{"n":%s,"s":"sk-%s","password":"letters"}}' % (number, number, TOKEN.encode())
    payload = scrubbed(text)
    stored = payload_of(*payload_row(payload)).request
    assert stored["a"]["s"] == "[redacted:api-key]" and stored["a"]["password"] == "[redacted:secret]"
    assert abs(stored["n"]) == float("inf") and msgspec.json.encode(stored)


def test_what_cannot_be_decoded_keeps_no_secret(tmp_path):
    """Deep enough that it can be passed over, and not be walked through."""
    deep = b'{"a":' + b"[" * 600 + f'"sk-{TOKEN}"'.encode() + b"]" * 600 + b"}"
    payload = EncodedPayload(CALL.id, members(deep), None)
    with TraceWriter(tmp_path) as writer:
        assert writer.append([Record(CALL, payload)]) == 1
    trace = TraceReader(tmp_path).trace(CALL.trace_id)
    assert TOKEN not in str(trace.payloads[CALL.id])
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.glob("calls-*"))


def test_a_text_that_cannot_be_decoded_is_not_taken_for_harmless(monkeypatch):
    monkeypatch.setattr(redaction, "json_value", lambda text: dict(UNREADABLE))
    payload = scrubbed(f'{{"a":"it is sk-{TOKEN} and more and more and more and more and more and more"}}'.encode())
    assert payload.decoded().request == {"a": UNREADABLE}


def test_bytes_that_are_no_utf_8_are_not_written():
    bad = EncodedPayload("c", {"a": msgspec.Raw(b'"\xff and what else it may be"')}, None)
    assert "not searched" in str(scrub(Record(CALL, bad)).payload.request)


def test_what_is_known_to_be_harmless_is_bounded(monkeypatch):
    monkeypatch.setattr(redaction, "_MOST_HARMLESS", 10)
    monkeypatch.setattr(redaction, "_HARMLESS", set())
    for start in range(0, 200, 50):
        items = [f"{number:08d} " * 10 for number in range(start, start + 50)]
        scrubbed(json.dumps({"messages": items}).encode())
        assert len(redaction._HARMLESS) <= 10


@pytest.mark.parametrize(
    "text", [r"api_\u212aey = abcdefgh1", r"api_\u212Aey = abcdefgh1", rf"s\u006b-{TOKEN}", rf"\n\u0073k-{TOKEN}"]
)
def test_an_escape_hides_no_secret(text):
    assert "[redacted:" in scrubbed(f'{{"a":"{text}"}}'.encode()).decoded().request["a"]
