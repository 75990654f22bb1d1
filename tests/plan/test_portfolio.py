"""Levers together: what the combination may never claim, whatever the estimates."""

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.plan import portfolio
from trimtab.plan.worth import Evidence, Use, Word, Worth

LEVERS = ("cache", "label head", "smaller model", "tuned small model", "exact prefix layout", "speculation")
USES = {
    ("w", "a"): Use(calls=100, nanodollars=900, seconds=9.0),
    ("w", "b"): Use(calls=50, nanodollars=100, seconds=1.0),
}


def worth(lever, saving, agent="a", width=0.0, **fields):
    given_ = {"word": Word.WORTH, "evidence": Evidence.MEASURED, **fields}
    low, high = max(0.0, saving - width), min(1.0, saving + width)
    return Worth(workflow="w", agent=agent, lever=lever, says="", saving=saving, low=low, high=high, **given_)


def test_a_hit_is_not_saved_twice():
    one = portfolio.combine([worth("cache", 0.5), worth("label head", 0.8)], USES)
    assert one.summed > 0.9 * 1.29
    # Of the half that is left the head answers between (0.8 − 0.5)/0.5 and 0.8.
    assert 0.9 * 0.79 < one.saving < 0.9 * 0.91
    assert one.low <= one.saving <= one.high
    assert [chosen.lever for chosen in one.chosen] == ["label head", "cache"]


def test_cheaper_tokens_multiply():
    one = portfolio.combine(
        [worth("exact prefix layout", 0.5), worth("shorter prompts", 0.5)], {("w", "a"): USES["w", "a"]}
    )
    assert abs(one.saving - 0.75) < 1e-9


def test_one_lever_alone_answers_for_the_old_model():
    given_ = [worth("label head", 0.8), worth("smaller model", 0.9, evidence=Evidence.CEILING)]
    one = portfolio.combine(given_, USES)
    assert [chosen.lever for chosen in one.chosen] == ["label head"]
    assert one.left_out[0][:3] == ("w", "a", "smaller model")


def test_value_per_risk_orders_them_and_what_saves_no_money_is_last():
    given_ = [
        worth("speculation", 0.0, seconds=0.5, seconds_high=0.6),
        worth("smaller model", 0.4, evidence=Evidence.CEILING, quality=0.02),
        worth("exact prefix layout", 0.2),
        worth("cache", 0.1, agent="b", quality=0.001),
    ]
    order = [(chosen.agent, chosen.lever) for chosen in portfolio.combine(given_, USES).chosen]
    assert order == [("a", "exact prefix layout"), ("a", "smaller model"), ("b", "cache"), ("a", "speculation")]


def test_a_saving_without_evidence_is_told_apart():
    one = portfolio.combine(
        [worth("exact prefix layout", 0.2), worth("smaller model", 0.4, evidence=Evidence.CEILING)], USES
    )
    assert 0 < one.grounded < one.saving
    assert portfolio.combine([], USES).saving == 0
    assert portfolio.combine([worth("cache", 0.5)], {}).chosen == ()


ANY = st.builds(
    lambda lever, agent, saving, width, seconds, quality, evidence, word: worth(
        lever, saving, agent, width, seconds=seconds, quality=quality, evidence=evidence, word=word
    ),
    st.sampled_from(LEVERS),
    st.sampled_from("ab"),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 0.2),
    st.sampled_from(Evidence),
    st.sampled_from(Word),
)


@settings(max_examples=25)
@given(st.lists(ANY, max_size=6))
def test_the_whole_is_never_more_than_the_bill_nor_less_than_its_best_part(worths):
    one = portfolio.combine(worths, USES)
    assert -1e-9 <= one.low <= one.high + 1e-9 and one.high <= 1 + 1e-6
    assert one.saving <= 1 + 1e-6 and one.seconds <= 1 + 1e-9
    assert abs(one.saving - sum(chosen.added for chosen in one.chosen)) < 1e-6
    assert one.grounded <= one.saving + 1e-9
    assert all(
        chosen.lever not in portfolio.INSTEAD
        or not any(
            other is not chosen and other.lever in portfolio.INSTEAD and other.agent == chosen.agent
            for other in one.chosen
        )
        for chosen in one.chosen
    )
