"""Questions taken apart: any text is read, and the parts are what people meant by them."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trimtab.levers.cache.words import Idf, differences, facts, stem

TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            [
                "not",
                "no",
                "never",
                "than",
                "from",
                "to",
                "Paris",
                "$5",
                "5",
                "1,000",
                "k",
                '"a b"',
                "x_y",
                "can't",
                "'",
                "2-3",
                ".",
            ]
        ),
        max_size=30,
    ).map(" ".join),
)


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
@example("", "")
@example("1" * 5_000, "٣٤ ½ ² 1.2.3,4")
@example("$", "no longer")
@example('"A0" "²"', "N:THAN:N")
def test_any_two_texts_are_read_and_compared(one, two):
    idf = Idf()
    idf.add(one)
    found = differences(one, two, idf)
    assert list(found) == list(differences("a", "b", Idf()))
    assert all(value == value and abs(value) < float("inf") for value in found.values())
    back = differences(two, one, idf)
    for name in ("jaccard", "overlap", "number", "date", "name", "negation", "denied", "antonym", "asking", "length"):
        assert found[name] == pytest.approx(back[name])
    same = differences(one, one, idf)
    assert not any(same[name] for name in ("number", "date", "name", "negation", "denied", "antonym", "substituted"))


@pytest.mark.parametrize(
    ("text", "quantities"),
    [
        ("I paid $1,500.50 twice", [("1500.5", "usd")]),
        ("twenty five miles", [("25", "mile")]),
        ("25 mi", [("25", "mile")]),
        ("5k and 5 thousand and 5,000", [("5000", "")] * 3),
        ("1,5 kg", [("1.5", "kg")]),
        ("the third and the 3rd", [("3th", "")] * 2),
        ("one of them, in a second", []),
        ("30 % of 80", [("30", "percent"), ("80", "")]),
        ("€20 or 20 euros", [("20", "eur")] * 2),
        ("from 3-4 days", [("-4", "day"), ("3", "")]),
    ],
)
def test_quantities_are_read_with_their_unit(text, quantities):
    assert list(facts(text).quantities) == sorted(quantities)


def test_the_parts_of_a_question():
    found = facts('Why does `git push` say "Access  Denied" for order A-123 on Monday in Ulm with read_csv?')
    assert found.quotes == {"git push", "access denied"}
    assert found.ids == {"a123"}
    assert found.dates == {"monday"}
    assert found.names == {"ulm"}
    assert found.code == {"read_csv"}
    assert found.asking == "why"
    assert facts("Can I pay?").asking == "whether"
    assert facts("may I go in May 2024?").dates == {"may"}


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("my card isn't working", {"work"}),
        ("why doesn't my card work", {"card", "work"}),
        ("I no longer want it", {"want"}),
        ("it failed to arrive", {"arriv"}),
        ("it stopped working but looks good", {"work"}),
        ("without a visa", {"visa"}),
        ("not only that, it works", set()),
        ("is it open or not", set()),
        ("I dont have an account", {"account"}),
    ],
)
def test_what_a_negation_denies(text, denied):
    assert facts(text).denied == denied


@pytest.mark.parametrize(
    "forms",
    [("activate", "activated", "activates", "activating"), ("stop", "stopped", "stopping"), ("city", "cities")],
)
def test_forms_of_a_word_have_one_stem(forms):
    assert len({stem(form) for form in forms}) == 1


def test_a_rare_word_weighs_more():
    idf = Idf()
    for text in ("the card", "the bank", "the fee"):
        idf.add(text)
    assert idf["unseen"] > idf["card"] > idf["the"]
    assert differences("the card", "the bank", idf)["rarest_asked"] == idf["card"]


def test_one_stretch_exchanged_is_seen():
    idf = Idf()
    assert differences("what gas does it take", "what oil does it take", idf)["substituted"] > 0
    assert differences("what gas does it take", "does it run on oil", idf)["substituted"] == 0


@pytest.mark.parametrize(
    "text", ["a.", "'", "1,", "a-", "_a", '"a ', "/", "a1", "1a_", "::a", "a@", "a" * 40 + "_", "-"]
)
def test_long_texts_are_read_in_time_linear_in_their_length(text):
    """Ten times the text may not take a hundred times as long; the shortest of some runs counts."""

    def seconds(characters):
        whole = (text * characters)[:characters]
        runs = []
        for each in range(3):
            before = time.process_time()
            facts(whole + str(each))
            runs.append(time.process_time() - before)
        return min(runs)

    assert seconds(3_900) < 60 * seconds(390) + 0.05
