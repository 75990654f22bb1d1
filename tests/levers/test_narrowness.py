"""Template share, output forms and slots on texts whose answer is known."""

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from tests.levers import public
from trimtab.levers import examples, narrowness, slots

RULES = "You are the clerk of a bank and answer each question in one short line of JSON without any word around it. "


def of(outputs, prompts=None):
    prompts = prompts or [f"question number {at}" for at in range(len(outputs))]
    made = [public.record(at, asked, said) for at, (asked, said) in enumerate(zip(prompts, outputs, strict=True))]
    return list(examples.of_records(made))


def test_one_form_of_json_is_narrow_and_free_text_is_not():
    chance = random.Random(1)
    forms = [json.dumps({"intent": f"i{chance.randrange(9)}", "sure": chance.random()}) for _ in range(400)]
    found = narrowness.measure(of(forms))
    assert found.is_narrow and found.covered == 1 and found.structured == 1
    assert found.forms[0].shape == "{intent: text, sure: number}" and found.forms[0].count == 400
    letters = "abcdefghijklmnopqrstuvwxyz"
    free = [" ".join("".join(chance.choices(letters, k=5)) for _ in range(9)) for _ in range(400)]
    loose = narrowness.measure(of(free))
    assert not loose.is_narrow and loose.high < 0.05 and loose.structured == 0


def test_few_traces_are_never_narrow():
    found = narrowness.measure(of(['{"a": 1}'] * 100))
    assert found.covered == 1 and not found.is_narrow


def test_the_share_of_the_template_is_that_of_its_words():
    letters, chance = "abcdefghijklmnopqrstuvwxyz", random.Random(2)
    slot = [" ".join("".join(chance.choices(letters, k=6)) for _ in range(22)) for _ in range(50)]
    assert len(RULES.split()) == 22
    assert narrowness.template_share([RULES + text for text in slot]) == 0.5
    assert narrowness.template_share(slot) == 0
    assert narrowness.template_share(["one"]) == 0


def test_the_slot_is_what_changes_between_the_ends():
    texts = [f"Classify this message: {word} now. Answer in one word." for word in ("help me", "card", "loan", "x y")]
    its = slots.slot(texts * 10)
    assert its.of(texts[0]) == "help me"
    assert its.of("something else") == "something else"
    assert slots.slot(["apple", "banana", "cherry"]) == slots.Slot()
    assert slots.slot([]) == slots.Slot()


def test_one_text_in_ten_may_lack_the_template():
    texts = [f"Classify this message: {at} please" for at in range(95)] + ["hello there"] * 5
    assert slots.slot(texts).before == "Classify this message: "


@given(st.lists(st.text(max_size=40), max_size=30))
def test_a_slot_never_adds_anything(texts):
    its = slots.slot(texts)
    assert all(its.of(text) in text for text in texts)
