import itertools
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.arena.dealership import goals, phrases

SLOT = re.compile(r"\{\w+\}")


def asks(family):
    if family == "info":
        return [f"info_{topic}" for topic in sorted(set(goals.CHOICES["topic"]))]
    return [goals.STARTS_AS.get(family, family)]


@pytest.mark.parametrize("family", goals.FAMILIES)
def test_each_goal_can_begin_in_200_ways(family):
    """Bare and all different: lead-in × ask × ways to add each fact or leave it out; no greetings, no closings."""
    spec = goals.FAMILIES[family]
    slots = [slot for slot in (*spec.slots, *(["phone"] if spec.account else [])) if slot in phrases.TAILS]
    texts = {
        opening + "".join(tails)
        for ask in asks(family)
        for split in phrases.SPLITS
        for opening in phrases.openings(ask, split)
        for tails in itertools.product(*(("", *phrases.TAILS[slot]) for slot in slots))
    }
    assert len(texts) == sum(phrases.count(ask, slots) for ask in asks(family))
    assert len(texts) >= 200


@pytest.mark.parametrize("ask", phrases.ASKS)
def test_no_opening_is_shared_between_splits(ask):
    parts = [set(phrases.openings(ask, split)) for split in phrases.SPLITS]
    assert all(parts)
    assert len(set().union(*parts)) == sum(map(len, parts)) == len(phrases.LEADS) * len(phrases.ASKS[ask])


@pytest.mark.parametrize("kind", phrases.REPLIES)
def test_no_reply_is_shared_between_splits(kind):
    parts = [set(phrases.replies(kind, split)) for split in phrases.SPLITS]
    assert all(parts)
    assert all(not (a & b) for a, b in itertools.combinations(parts, 2))


def test_slots_of_every_ask_are_facts_of_its_goal():
    for family, spec in goals.FAMILIES.items():
        for ask in asks(family):
            used = set(re.findall(r"\{(\w+)\}", " ".join(phrases.ASKS[ask])))
            assert used <= set(spec.slots), family


TEMPLATES = [text for split in phrases.SPLITS for ask in phrases.ASKS for text in phrases.openings(ask, split)]


@settings(deadline=None)
@given(st.sampled_from(TEMPLATES), st.sampled_from(list(phrases.TAILS)), st.integers())
def test_a_typo_swaps_two_letters_and_never_touches_a_slot(template, slot, seed):
    whole = phrases.with_tails(template, [slot], random.Random(seed))
    wrong = phrases.typo(whole, random.Random(seed))
    assert SLOT.findall(wrong) == SLOT.findall(whole)
    assert sorted(wrong) == sorted(whole)
    assert sum(a != b for a, b in zip(wrong, whole, strict=True)) in (0, 2)


def test_the_phone_number_comes_last():
    text = phrases.with_tails("Hello", ["phone", "day", "time"], random.Random(1))
    assert text.endswith("{phone}")
    assert "{day}" in text
