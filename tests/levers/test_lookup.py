"""Look-up drafting: counts by hand, and bounds that hold for any texts."""

from hypothesis import given
from hypothesis import strategies as st

from tests.levers import public
from trimtab.levers import examples, lookup

PIECES = st.lists(st.sampled_from("abcd"), max_size=60)


def test_a_copy_is_written_in_few_steps():
    # "a b" is followed by c..i in the prompt; one draft of eight runs on into "z".
    prompt = list("abcdefghizz")
    assert lookup.played(prompt, list("abcdefghi"), draft=8) == (3, 8, 7)


def test_what_was_never_there_is_written_piece_by_piece():
    assert lookup.played(list("abc"), list("xyz")) == (3, 0, 0)
    assert lookup.played([], []) == (0, 0, 0)


@given(PIECES, PIECES, st.integers(1, 9))
def test_steps_and_right_pieces_add_up(prompt, written, draft):
    steps, drafted, right = lookup.played(prompt, written, draft)
    assert right <= drafted <= steps * draft
    assert len(written) <= steps + right
    assert steps <= len(written)


@given(st.text(max_size=200))
def test_pieces_leave_nothing_out(text):
    assert "".join(lookup.pieces(text)) == text


def test_copies_are_told_from_new_words():
    quote = "the lease of the blue estate runs for thirty six months at two hundred and ten a month"
    copied = [public.record(at, f"repeat this: {quote} {at}", quote) for at in range(20)]
    fresh = [public.record(at, f"greet customer {at}", f"{at * 7919} welcomes {at * 104729}") for at in range(20)]
    high = lookup.measure(list(examples.of_records(copied)))
    low = lookup.measure(list(examples.of_records(fresh)))
    assert high.per_step > 3 and high.low <= high.per_step <= high.high
    assert low.per_step < 1.5
    assert lookup.measure([]).per_step == 1.0
