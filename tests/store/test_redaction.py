"""Secrets go, ordinary text stays, and no text takes long."""

import json
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.samples import make_record
from trimtab.store.redaction import _scrub_field, scrub, scrub_text
from trimtab.trace import Payload, Record

TOKEN = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"
SECRETS = [
    f"sk-{TOKEN}",
    f"sk-proj-{TOKEN}",
    f"sk-ant-api03-{TOKEN}",
    f"sk_live_{TOKEN}",
    f"ghp_{TOKEN}",
    f"github_pat_{TOKEN}",
    f"glpat-{TOKEN}",
    f"hf_{TOKEN}",
    f"xoxb-12345678-{TOKEN}",
    f"AIza{TOKEN[:35]}",
    f"tt-{TOKEN}-_Z",
    "AKIAIOSFODNN7EXAMPLE",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{TOKEN}",
]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:10])
@pytest.mark.parametrize("form", ["{}", "my key: {}.", 'key="{}"', "https://host/?key={}&x=1", "é{}", "a\n{}\nb"])
def test_a_secret_goes_wherever_it_stands(secret, form):
    scrubbed = scrub_text(form.format(secret))
    assert secret not in scrubbed and "[redacted:" in scrubbed
    assert secret[4:20] not in scrubbed


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer [redacted:token]"),
        (f"password = {TOKEN[:9]} and more", "password = [redacted:secret] and more"),
        (json.dumps({"api_key": TOKEN}), '{"api_key": "[redacted:secret]"}'),
        (json.dumps(json.dumps({"client-secret": TOKEN})), '"{\\"client-secret\\": \\"[redacted:secret]\\"}"'),
        (f"a {PEM} b", "a [redacted:private-key] b"),
        ("a -----BEGIN PRIVATE KEY-----\nMIIEow", "a [redacted:private-key]"),
    ],
)
def test_what_stands_round_a_secret_is_kept(text, kept):
    assert scrub_text(text) == kept
    assert scrub_text(kept) == kept


def test_every_string_of_a_body_is_searched_and_named_fields_go_whole():
    request = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": f"it is sk-{TOKEN}"}]}],
        "metadata": {"Authorization": "anything", "password": "letters", "n": 1},
        "tools": [{"function": {"parameters": {"properties": {"password": {"type": "string"}}}}}],
    }
    response = {"choices": [{"message": {"tool_calls": [{"function": {"arguments": f'{{"k":"ghp_{TOKEN}"}}'}}]}}]}
    call = make_record(1).call
    body = scrub(Record(call, Payload(call.id, request, response))).payload
    text = json.dumps([body.request, body.response])
    assert TOKEN not in text and "anything" not in text and "letters" not in text
    assert body.request["tools"] == request["tools"] and body.request["metadata"]["n"] == 1
    assert body.request["messages"][0]["content"][0]["text"] == "it is [redacted:api-key]"


ORDINARY = [
    "The task-management board asked for risk-averse-customers",
    "My password is not the problem, the token is",
    "VIN 1HGCM82633A004352, order ORD-2025-000123, +1 (555) 010-9999, jo@example.com, IBAN GB82WEST12345698765432",
    "A bearer of good news; authorization by the manager; API key management for 2024",
    "sk-learn-based-classifiers-are-fine",
    "ASIA is a continent of 44579000 km2",
    "[redacted:api-key]",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text):
    assert scrub_text(text) == text


WORDS = st.text(string.ascii_letters + string.digits + "äöü", max_size=15).filter(
    lambda word: not word.startswith(("AIza", "AKIA", "ASIA", "eyJ")) and "assword" not in word.lower()
)


@given(st.lists(WORDS, max_size=40), st.sampled_from([" ", "\n", ", ", ". ", " (", " – "]))
def test_words_and_numbers_stay(words, joint):
    text = joint.join(words)
    assert scrub_text(text) == text


@given(st.text())
def test_scrubbing_twice_is_scrubbing_once(text):
    once = scrub_text(text)
    assert scrub_text(once) == once


@given(st.text(), st.sampled_from(SECRETS), st.text())
def test_a_secret_goes_in_any_text(before, secret, after):
    assert secret not in scrub_text(f"{before} {secret} {after}")


WORST = ["sk-", "sk-a1", "eyJ", "eyJ.", "eyJaaaaaaaaaaa.", "bearer ", "password", "api_key:", 'password="""', "AKIA"]
WORST += ["xoxb-", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "PRIVATE KEY-----", "access_token : '"]


@pytest.mark.parametrize("seed", WORST)
def test_no_text_takes_long(seed):
    """Two megabytes of the worst: a quadratic pattern would take minutes."""
    text = seed * (2_000_000 // len(seed))
    start = time.process_time()
    scrub_text(text)
    assert time.process_time() - start < 10


def payload_of(request):
    return scrub(Record(make_record(1).call, Payload("c", request, {"choices": []}))).payload.request


def test_the_shortest_secret_goes():
    assert scrub_text("apikey=abcdefg1") == "apikey=[redacted:secret]"


def test_what_was_harmless_before_hides_no_secret_beside_it():
    system = {"role": "system", "content": "You sell cars. " * 20}
    harmless = {"messages": [system], "tools": [{"name": "find " * 20}], "instructions": "Be kind. " * 20}
    for _ in range(2):
        assert payload_of(harmless) == harmless
        for place in ("messages", "tools", "instructions", "user"):
            found = payload_of({**harmless, place: [system, f"sk-{TOKEN}"] if place != "user" else f"sk-{TOKEN}"})
            assert found[place] == ([system, "[redacted:api-key]"] if place != "user" else "[redacted:api-key]")


words = st.one_of(st.text(max_size=30), st.sampled_from([*SECRETS, "x" * 80, "api_\u212aey = abcdefgh1", "password"]))
bodies = st.dictionaries(
    st.sampled_from(["messages", "tools", "input", "password", "user"]),
    st.recursive(
        words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=8
    ),
    max_size=4,
)


@given(bodies)
def test_a_body_is_scrubbed_as_if_each_of_its_strings_were_searched(body):
    wanted = {name: _scrub_field(name, value, scrub_text) for name, value in body.items()}
    assert payload_of(body) == wanted
    assert payload_of(body) == wanted
