"""Two requests meet only where everything that could change the answer is the same."""

import copy
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.levers.cache.requests import OPEN, chat, request
from trimtab.gateway.keys import Key
from trimtab.levers.cache import asking, options, partition, question

OPTIONS = options.read({})


def of(body=None, given=None, **more):
    return asking.of(request(body, **more), options.read(given) if given else OPTIONS)


def one(**more):
    return of(more.pop("body", None), more.pop("given", None), **more).partition


SAME = one(session="s", user="u")


@pytest.mark.parametrize(
    "other",
    [
        {"body": chat(system="You buy cars.")},
        {"body": chat(system="")},
        {"body": {**chat(), "model": "m2"}},
        {"body": chat(temperature=0)},
        {"body": chat(max_tokens=5)},
        {"body": chat(seed=1)},
        {"body": chat(a_member_of_tomorrow=True)},
        {"body": chat(response_format={"type": "json_object"})},
        {"body": chat(tools=[{"type": "function", "function": {"name": "f"}}])},
        {"body": chat("Wann hat der Laden auf?")},
        {"key": Key(name="a")},
        {"key": Key(name="b", tenant="t")},
        {"headers": [(b"authorization", b"Bearer sk-1")]},
        {"headers": [(b"x-api-key", b"sk-1")]},
        {"headers": [(b"x-whose", b"mine")]},
        {"headers": [(b"openai-organization", b"o")]},
        {"tags": {"tenant": "x"}},
        {"tags": {"trust": "high"}},
        {"tags": {"corpus": "7"}},
        {"given": {"version": "2"}},
        {"given": {"corpus": "2"}},
        {"workflow": "trimtab.shadow"},
    ],
)
def test_each_of_these_parts(other):
    assert one(**other).digest != SAME.digest


@pytest.mark.parametrize(
    "other",
    [
        {"session": "another"},
        {"user": "another"},
        {"body": {**chat(), "stream": True, "stream_options": {"include_usage": True}}},
        {"body": {**chat(), "metadata": {"a": "b"}, "user": "u"}},
        {"headers": [(b"user-agent", b"x"), (b"x-stainless-os", b"y"), (b"traceparent", b"z")]},
        {"body": chat("How is the shop?")},
    ],
)
def test_each_of_these_does_not(other):
    assert one(**other).digest == SAME.digest


def test_what_is_personal_stays_in_its_session():
    mine = chat("Where is my order?")
    assert one(body=mine, session="a").digest != one(body=mine, session="b").digest
    assert one(body=mine, session="a").digest == one(body=mine, session="a").digest
    assert one(body=mine).digest != one(body=mine).digest, "without a session or a user, every request is alone"


def test_only_the_tenant_and_the_key_are_left_out_of_what_may_be_shared():
    a, b = one(key=Key(name="a", tenant="t")), one(key=Key(name="b", tenant="u"))
    assert a.shared == b.shared
    assert a.digest != b.digest
    assert one(key=Key(name="a"), body=chat(system="x")).shared != a.shared


def test_two_tenants_cannot_be_written_so_that_they_look_like_one():
    """Fields are digested as JSON, so what one ends with is never taken for what the next begins with."""
    a = one(key=Key(name="bc", tenant="a"))
    b = one(key=Key(name="c", tenant="ab"))
    assert a.digest != b.digest


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("when does the shop open on Sundays?", True),
        ("  When  does the shop open on Sundays? ", True),
        ("When does the shop open on Sundays!", False),
        ("When does the shop open on sundays?", False),
        ("WHEN does the shop open on Sundays?", False),
    ],
)
def test_the_exact_key_forgives_spaces_and_the_first_letter_alone(text, same):
    assert (of(chat(text)).key == of(chat(OPEN)).key) == same


def test_lines_keep_their_spaces_because_code_means_them():
    assert of(chat("if a:\n  b\nc")).key != of(chat("if a:\n    b\nc")).key


def calling(call_id, argument="1", result="9"):
    asked = chat()
    function = {"name": "f", "arguments": json.dumps({"id": argument})}
    asked["messages"] += [
        {"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": call_id, "content": result},
    ]
    return asked


def test_ids_that_link_tool_calls_do_not_count_and_all_else_does():
    assert of(calling("a")).key == of(calling("b")).key
    assert of(calling("a")).key != of(calling("a", argument="2")).key
    assert of(calling("a")).key != of(calling("a", result="8")).key
    used = [{"type": "tool_use", "id": "t", "name": "f", "input": {"id": number}} for number in ("V1", "V2")]
    asked = [{"model": "m", "messages": [{"role": "assistant", "content": [block]}]} for block in used]
    assert question.read("messages", asked[0]) != question.read("messages", asked[1])


@given(st.text(max_size=60))
def test_normalising_twice_is_normalising_once(text):
    assert partition.normalised(partition.normalised(text)) == partition.normalised(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What are your opening hours?", "en"),
        ("Wie kann ich die Karte sperren?", "de"),
        ("Comment puis-je bloquer ma carte ?", "fr"),
        ("¿Cómo puedo bloquear la tarjeta?", "es"),
        ("Как заблокировать карту?", "CYRILLIC"),
        ("営業時間は?", "CJK+HIRAGANA"),
        ("", "und"),
    ],
)
def test_languages_are_told_apart(text, expected):
    assert partition.language(text) == expected


def mutated(body, chance):
    """`body` with one thing changed that may change the answer."""
    out = copy.deepcopy(body)
    kind = chance.randrange(5)
    if kind == 0:
        out["messages"][0]["content"] += chance.choice("abc")
    elif kind == 1:
        out["model"] = f"m{chance.randrange(1, 9)}"
    elif kind == 2:
        out[chance.choice(["seed", "max_tokens", "top_k", "zeta"])] = chance.randrange(1, 99)
    elif kind == 3:
        out["tools"] = [{"type": "function", "function": {"name": f"f{chance.randrange(99)}"}}]
    else:
        out["messages"].insert(1, {"role": "assistant", "content": str(chance.randrange(99))})
    return out


def test_no_change_of_a_body_is_overlooked():
    chance = random.Random(7)
    for _ in range(500):
        changed = mutated(chat(), chance)
        assert of(changed).key != of(chat()).key, changed
