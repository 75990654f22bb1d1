import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.stats.sequential import Claim, Process, Rate

SCORES = st.lists(st.one_of(st.floats(-1, 1), st.sampled_from([-1.0, 0.0, 1.0])), max_size=80)


def fed(process, scores):
    for x in scores:
        process.feed(x)
    return process


def draws(rng, shape, difference, flips):
    u = rng.random(shape)
    return (u < (flips + difference) / 2).astype(float) - (u > 1 - (flips - difference) / 2)


def simulated(difference, flips, steps, runs=800, margin=0.05, seed=1):
    process, rng = Process(margin, runs=runs), np.random.default_rng(seed)
    for _ in range(steps):
        process.feed(draws(rng, runs, difference, flips))
    return process


def test_a_good_candidate_is_promoted_and_a_bad_one_rejected():
    good, bad = fed(Process(0.05), [0.0] * 400), fed(Process(0.05), [-1.0, 0.0, 0.0] * 100)
    assert (good.promotes, good.rejects) == (True, False)
    assert (bad.promotes, bad.rejects) == (False, True)
    assert (good.n, bad.n) == (400, 300)


@pytest.mark.parametrize("flips", [0.05, 0.2])
def test_a_candidate_at_the_margin_is_promoted_in_at_most_five_of_a_hundred(flips):
    process = simulated(-0.05, flips, 600)
    assert process.promotes.mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 800)


def test_an_equal_candidate_is_promoted_and_hardly_ever_rejected():
    process = simulated(0.0, 0.1, 600)
    assert process.promotes.mean() > 0.85
    assert process.rejects.mean() < 0.05


def test_the_eager_policy_rejects_sooner():
    rng = np.random.default_rng(2)
    usual, eager = Process(0.05, runs=400), Process(0.05, harm=0.0, runs=400)
    for _ in range(200):
        x = draws(rng, 400, -0.1, 0.2)
        usual.feed(x)
        eager.feed(x)
    assert eager.rejects.mean() > usual.rejects.mean() + 0.1


def test_what_decides_first_stays():
    process = fed(Process(0.1), [1.0] * 60)
    assert process.promotes
    fed(process, [-1.0] * 400)
    assert process.harm_wealth > 1e6
    assert (process.promotes, process.rejects) == (True, False)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_arrays_go_the_way_of_floats(scores):
    alone, many = Process(0.03), Process(0.03, runs=2)
    for x in scores:
        alone.feed(x)
        many.feed(np.array([x, -x]))
    assert many.wealth[0] == alone.wealth
    assert many.harm_wealth[0] == alone.harm_wealth
    assert (many.promotes[0], many.rejects[0]) == (alone.promotes, alone.rejects)


@given(SCORES, st.integers(0, 80), st.sampled_from([Process, Claim]))
@settings(max_examples=40, deadline=None)
def test_a_resumed_run_is_the_run(scores, cut, kind):
    def start():
        return Process(0.04, 0.1, -0.01) if kind is Process else Claim(0.1)

    whole = fed(start(), scores)
    half = fed(start(), scores[:cut])
    resumed = fed(kind.resume(json.loads(json.dumps(half.state()))), scores[cut:])
    assert resumed.state() == whole.state()
    assert (resumed.wealth, resumed.harm_wealth, resumed.n) == (whole.wealth, whole.harm_wealth, whole.n)
    assert (resumed.promotes, resumed.rejects) == (whole.promotes, whole.rejects)


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.0, 0.0, 1.0]), min_size=1, max_size=150), st.floats(0.02, 0.2))
@settings(max_examples=60, deadline=None)
def test_the_interval_and_the_decision_agree(scores, margin):
    process, highest, harm = Process(margin, 0.1), 1.0, 1.0
    for x in scores:
        process.feed(x)
        highest, harm = max(highest, process.wealth), max(harm, process.harm_wealth)
    low, high = process.interval(0.8)
    if min(abs(low + margin), abs(high + margin / 2)) > 1e-9 and low < high:
        assert (low > -margin) == (highest >= 10)
        assert (high < -margin / 2) == (harm >= 10)


def test_the_interval_narrows_round_the_mean():
    rng = np.random.default_rng(5)
    process = fed(Process(0.05), draws(rng, 2000, -0.02, 0.1))
    low, high = process.interval(0.95)
    assert -0.06 < low < -0.02 < high < 0.02
    assert process.interval(0.5).low > low
    assert Process(0.05).interval() == (-1, 1)


@pytest.mark.parametrize("x", [math.nan, 1.01, -1.01, math.inf])
def test_a_score_that_is_none_is_refused(x):
    for process in (Process(0.1), Claim()):
        with pytest.raises(ValueError, match="outside"):
            process.feed(x)
        assert process.n == 0
    with pytest.raises(ValueError, match="outside"):
        Process(0.1, runs=2).feed(np.array([0.0, x]))


@pytest.mark.parametrize("margin", [0, -0.1, 1, math.nan])
def test_a_margin_that_is_none_is_refused(margin):
    with pytest.raises(ValueError, match="margin"):
        Process(margin)


@pytest.mark.parametrize("alpha", [0, 1, math.nan])
def test_an_alpha_that_is_none_is_refused(alpha):
    for make in (lambda: Process(0.1, alpha), lambda: Claim(alpha), lambda: Rate(0.1, alpha)):
        with pytest.raises(ValueError, match="alpha"):
            make()


@pytest.mark.parametrize("harm", [-1, 1.5, math.nan])
def test_a_harm_that_no_score_can_show_is_refused(harm):
    with pytest.raises(ValueError, match="harm"):
        Process(0.1, harm=harm)


def test_a_saving_that_is_there_is_proven_and_one_that_is_not_refuted():
    rng = np.random.default_rng(6)
    real, none = Claim(runs=300), Claim(runs=300)
    false = Claim(runs=300)
    for _ in range(500):
        noise = rng.uniform(-0.5, 0.5, 300)
        real.feed(noise + 0.1)
        none.feed(noise)
        false.feed(noise - 0.1)
    assert real.promotes.mean() > 0.95
    assert false.rejects.mean() > 0.95
    assert none.promotes.mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


@given(st.floats(0.01, 0.9))
@settings(max_examples=20, deadline=None)
def test_at_the_limit_both_wealths_of_a_rate_stay_one(limit):
    better = worse = 0.0
    for path in itertools.product((0, 1), repeat=6):
        rate = Rate(limit)
        for missed in path:
            rate.feed(bool(missed))
        chance = math.prod(limit if missed else 1 - limit for missed in path)
        better += chance * rate.wealth
        worse += chance * rate.harm_wealth
    assert better == pytest.approx(1, abs=1e-9)
    assert worse == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("truth", "promotes", "rejects"), [(0.01, True, False), (0.15, False, True)])
def test_a_rate_far_from_its_limit_is_decided(truth, promotes, rejects):
    rng, rate = np.random.default_rng(3), Rate(0.05, runs=300)
    for _ in range(400):
        rate.feed(rng.random(300) < truth)
    assert (rate.promotes.mean() > 0.95) == promotes
    assert (rate.rejects.mean() > 0.95) == rejects


def test_rates_refuse_what_is_no_answer():
    for limit in (0, 1, math.nan):
        with pytest.raises(ValueError, match="limit"):
            Rate(limit)
    with pytest.raises(ValueError, match="missed"):
        Rate(0.1).feed(0.5)


@given(st.lists(st.booleans(), max_size=120), st.integers(0, 120))
@settings(max_examples=30, deadline=None)
def test_a_resumed_rate_is_the_rate(answers, cut):
    whole, half = fed(Rate(0.1), answers), fed(Rate(0.1), answers[:cut])
    resumed = fed(Rate.resume(json.loads(json.dumps(half.state()))), answers[cut:])
    assert resumed.state() == whole.state()
    with pytest.raises(ValueError, match="version"):
        Rate.resume(half.state() | {"better": [1.0]})


@given(st.lists(st.booleans(), max_size=200), st.floats(0.5, 0.99))
@settings(max_examples=40, deadline=None)
def test_the_interval_of_a_rate_holds_the_share(answers, confidence):
    rate = fed(Rate(0.1), answers)
    low, high = rate.interval(confidence)
    share = sum(answers) / len(answers) if answers else 0.5
    assert 0 <= low <= share <= high <= 1
    mirrored = fed(Rate(0.1), [not missed for missed in answers]).interval(confidence)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_the_interval_of_a_rate_holds_at_all_times():
    rng, missed = np.random.default_rng(9), 0
    for _ in range(150):
        rate, left = Rate(0.1), False
        for n, answer in enumerate(rng.random(300) < 0.1, 1):
            rate.feed(answer)
            if n % 10 == 0 and not left:
                low, high = rate.interval(0.9)
                left = not low <= 0.1 <= high
        missed += left
    assert missed / 150 <= 0.1 + 3 * math.sqrt(0.09 / 150)
    assert high - low < 0.15
