"""The features of the words: symmetric where they should be, finite always, as by hand in a small case."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from trimtab.levers.cache.features import NAMES, Rarity, lexical, words


def test_as_by_hand():
    rarity = Rarity()
    for text in ("where is my card", "where is my refund", "i lost my card"):
        rarity.add(text)
    assert rarity.of("my") == math.log(4 / 3.5)
    row = lexical("where is my refund", ["where is my card"], rarity)
    assert row[0] == rarity.of("refund")  # the rarest word that no question of the group has
    assert row[2] == rarity.of("card")
    assert row[3] == 3 / 5
    assert lexical("where is my refund", ["where is my card", "a refund"], rarity)[0] == 0.0


def test_numbers_negation_and_question_words_are_seen():
    rarity = Rarity()
    same = lexical("how much is 20", ["how much is 20"], rarity)
    assert same[5:8] == [0.0, 0.0, 0.0]
    assert lexical("how much is 20", ["how much is 30"], rarity)[5] == 1.0
    assert lexical("it is not here", ["it is here"], rarity)[6] == 1.0
    assert lexical("why is it here", ["when is it here"], rarity)[7] == 1.0
    assert words("can't").negations == words("can’t").negations == 1


@given(st.text(max_size=60), st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_any_text_gives_a_full_row_of_finite_numbers(asked, held):
    rarity = Rarity()
    for text in held:
        rarity.add(text)
    row = lexical(asked, held, rarity)
    assert len(row) == len(NAMES) - 13
    assert all(math.isfinite(value) for value in row)


@given(st.text(alphabet="ab 12", max_size=30), st.text(alphabet="ab 12", max_size=30))
@example("11 1 21", "12 1a 1 2 1b a b")
def test_what_differs_does_not_depend_on_the_side(one, two):
    there, back = lexical(one, [two], Rarity()), lexical(two, [one], Rarity())
    for at in (1, 3, 5, 6, 7):
        assert there[at] == back[at]
