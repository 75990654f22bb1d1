import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.arena.dealership import goals, phrases, tasks, world
from trimtab.arena.dealership.customers import PERSONAS, Customer

DB = world.build(3)


def customer(family="test_drive", persona="plain", seed=1, split="test"):
    goal = goals.draw(family, DB, random.Random(seed))
    return Customer(goal, persona, split, random.Random(seed))


@pytest.mark.parametrize("persona", PERSONAS)
@pytest.mark.parametrize("family", goals.FAMILIES)
def test_what_they_say_holds_the_facts_they_say(family, persona):
    for seed in range(12):
        one = customer(family, persona, seed)
        text = one.open().lower()
        for slot in one.known:
            value = str(one.goal.slots[slot])
            if slot in phrases.TAILS:
                assert any(word in text for word in phrases.SPOKEN.get(value, (value.lower(),))), (slot, text)


@pytest.mark.parametrize(
    ("question", "slot"),
    [
        ("What is your phone number?", "phone"),
        ("What is your full name?", "name"),
        ("Which day suits you?", "day"),
        ("What time suits you?", "time"),
    ],
)
def test_they_answer_what_they_are_asked(question, slot):
    for seed in range(12):
        one = customer(seed=seed)
        said = one.reply(question).lower()
        value = str(one.goal.slots[slot])
        assert any(word.lower() in said for word in phrases.SPOKEN.get(value, (value,)))
        assert one.known[slot] == one.goal.slots[slot]


def test_one_question_for_two_facts_gets_both():
    one = customer()
    one.reply("Which day, and what time?")
    assert {"day", "time"} <= set(one.known)


def test_if_their_time_is_taken_they_choose_one_that_is_offered():
    one = customer()
    one.reply("What time suits you?")
    wanted = one.goal.slots["time"]
    other = next(time for time in world.TIMES if time != wanted)
    one.reply(f"{wanted} on monday is taken. Free: {other}. Which one do you prefer?")
    assert one.known["time"] == other


def minded(mind):
    return next(one for one in (customer(seed=seed) for seed in range(200)) if one.goal.mind == mind)


def test_yes_no_and_another_mind():
    yes, no, change = minded("yes"), minded("no"), minded("change")
    yes.reply("Shall I book it?")
    no.reply("Shall I book it?")
    change.reply("Shall I book it?")
    assert (yes.agreed, yes.declined) == (True, False)
    assert (no.agreed, no.declined) == (False, True)
    assert (change.agreed, change.declined) == (False, False)
    assert {slot: change.known[slot] for slot in change.goal.changed} == change.goal.changed
    change.reply("Shall I book it then?")
    assert change.agreed


def test_a_second_wish_must_be_agreed_to_on_its_own():
    one = customer("buy_on_credit")
    one.reply("Shall I reserve it?")
    assert one.agreed
    assert one.reply("Reserved.") is not None
    assert not one.agreed
    assert one.goal.family == "finance_apply"


def test_they_leave_after_an_answer_or_the_third_riddle():
    one = customer()
    assert [one.reply("What is the meaning of life?") for _ in range(3)] == ["I am not sure.", "I am not sure.", None]
    assert customer().reply("All done.") is None


WORDS = st.sampled_from(["phone?", "shall i", "?", "99:99", "{day}", "which one", "name", "confirm", "time?", "budget"])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(goals.FAMILIES)),
    st.sampled_from(PERSONAS),
    st.lists(st.text() | st.lists(WORDS, max_size=4).map(" ".join), max_size=8),
)
def test_no_text_makes_them_fall_over(family, persona, texts):
    one = customer(family, persona)
    assert one.open()
    for text in texts:
        said = one.reply(text)
        assert said is None or said


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(goals.FAMILIES)), st.text())
def test_statements_send_them_home_within_two_turns(family, text):
    one = customer(family)
    said = [one.reply(text.replace("?", "")) for _ in range(2)]
    assert said[1] is None


def test_no_two_customers_of_a_task_differ():
    for task in tasks.draw("train", 30, 2):
        assert task.enter()[1].open() == task.enter()[1].open()
