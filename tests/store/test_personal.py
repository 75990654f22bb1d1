"""Structured personal data: found by its form and its check digits, and nothing else touched."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.samples import make_record
from trimtab.store import personal
from trimtab.store.entry import Entry
from trimtab.store.spill import Spill
from trimtab.store.traces import TraceReader, TraceWriter
from trimtab.trace import Payload, Record


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("write to ada.l+x@mail.example.org, please", "write to [redacted:email], please"),
        ('{"email":"ada@example.org"}', '{"email":"[redacted:email]"}'),
        ("<ada@example.org>.", "<[redacted:email]>."),
        ("card 4111 1111 1111 1111 exp", "card [redacted:card] exp"),
        ("5500-0000-0000-0004", "[redacted:card]"),
        ("378282246310005", "[redacted:card]"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN [redacted:iban]."),
        ("GB29NWBK60161331926819", "[redacted:iban]"),
        ("call +44 20 7946 0958 or +1 (555) 123-4567", "call [redacted:phone] or [redacted:phone]"),
        ("(555) 123-4567, 555-123-4567", "[redacted:phone], [redacted:phone]"),
        ("ssn 078-05-1120", "ssn [redacted:social-security]"),
    ],
)
def test_what_is_found(text, left):
    assert personal.without(text) == left
    assert personal.without(left) == left


@pytest.mark.parametrize(
    "text",
    [
        "a car for 24,900 with 4111 km",
        "4111 1111 1111 1112 fails its check",
        "1763812800000 ms since 1970",
        "call_4111111111111111 is an id",
        "DE00 3704 0044 0532 0130 00",
        "2026-11-22 14:00:00+00:00",
        "1 + 1 = 2, +5 %, a+b@c",
        "v1.2.3.4 @decorator x@y",
        "00000000-0000-4000-8000-000000000000",
        "",
    ],
)
def test_what_stays(text):
    assert personal.without(text) == text


@given(st.text(st.sampled_from("0123456789+-. ()@aZDE"), max_size=200))
def test_any_text_comes_through_and_a_second_time_changes_nothing(text):
    once = personal.without(text)
    assert personal.without(once) == once


@pytest.mark.parametrize("text", ["1" * 200_000, "4 " * 100_000, "+1" * 100_000, "a" * 200_000 + "@", "A1 " * 70_000])
def test_it_takes_time_in_proportion(text):
    began = time.process_time()
    personal.without(text)
    assert time.process_time() - began < 5


def test_it_is_done_before_the_disk_if_wished_and_the_user_stays(tmp_path):
    call = make_record(1, user="ada@example.org", error="no mail to ada@example.org", tags={"phone": "+442079460958"})
    body = {"messages": [{"role": "user", "content": "I am ada@example.org, 4111111111111111"}]}
    record = Record(call.call, Payload("call-1", body, {"choices": [{"message": {"content": "Hi ada@example.org"}}]}))
    spill = Spill(tmp_path, 10**6, redact_personal=True)
    assert spill.append([Entry(record)]) == 1
    (path,) = tmp_path.glob("spill-*")
    assert b"4111111111111111" not in path.read_bytes()
    with TraceWriter(tmp_path, redact_personal=True) as writer:
        writer.append([record])
    trace = TraceReader(tmp_path).trace("t")
    assert trace.calls[0].user == "ada@example.org"
    assert (trace.calls[0].error, trace.calls[0].tags) == ("no mail to [redacted:email]", {"phone": "[redacted:phone]"})
    payload = trace.payloads["call-1"]
    assert payload.request["messages"][0]["content"] == "I am [redacted:email], [redacted:card]"
    assert payload.response["choices"][0]["message"]["content"] == "Hi [redacted:email]"
    with TraceWriter(tmp_path) as writer:
        writer.append([Record(make_record(2, trace="plain").call, Payload("call-2", body, None))])
    assert TraceReader(tmp_path).trace("plain").payloads["call-2"].request == body
