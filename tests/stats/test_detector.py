import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.stats.detector import ShiryaevRoberts, threshold


def draws(rng, runs, difference, flips=0.1):
    u = rng.random(runs)
    return (u < (flips + difference) / 2).astype(float) - (u > 1 - (flips - difference) / 2)


@given(st.floats(0.01, 0.5), st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_at_the_margin_the_mean_value_counts_the_pairs(margin, flips):
    flips = max(flips, margin)
    chances = {-1: (flips + margin) / 2, 0: 1 - flips, 1: (flips - margin) / 2}
    total = 0.0
    for path in itertools.product(chances, repeat=5):
        detector = ShiryaevRoberts(margin, 1e9)
        for x in path:
            detector.feed(float(x))
        total += detector.value * math.prod(chances[x] for x in path)
    assert total == pytest.approx(5, abs=1e-9)


def test_a_candidate_that_turns_bad_is_seen_and_a_healthy_one_is_left_alone():
    rng, runs = np.random.default_rng(4), 300
    detector = ShiryaevRoberts(0.05, threshold(0.05, 1000, 0.05, 0.1), runs=runs)
    for _ in range(1000):
        detector.feed(draws(rng, runs, 0.0))
    early = detector.alarm.mean()
    assert early <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    for _ in range(150):
        detector.feed(draws(rng, runs, -0.2, 0.3))
    assert detector.alarm.mean() > 0.95


def test_the_alarm_stays():
    detector = ShiryaevRoberts(0.02, 10)
    for _ in range(30):
        detector.feed(-1.0)
    assert detector.alarm
    for _ in range(500):
        detector.feed(1.0)
    assert detector.alarm
    assert detector.value < 10


@given(st.lists(st.floats(-1, 1), max_size=60), st.integers(0, 60))
def test_a_resumed_detector_is_the_detector(scores, cut):
    whole, half = ShiryaevRoberts(0.02, 20), ShiryaevRoberts(0.02, 20)
    for x in scores:
        whole.feed(x)
    for x in scores[:cut]:
        half.feed(x)
    resumed = ShiryaevRoberts.resume(json.loads(json.dumps(half.state())))
    for x in scores[cut:]:
        resumed.feed(x)
    assert resumed.state() == whole.state()
    assert resumed.value == whole.value


def test_the_proven_threshold_and_the_simulated_one():
    assert threshold(0.01, 5000) == 500_000
    simulated = threshold(0.05, 500, 0.05, 0.1)
    assert 50 < simulated < threshold(0.05, 500)
    assert threshold(1e-6, 5000, 0.05, 0.1) == threshold(1e-6, 5000), "too small a budget to simulate"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ShiryaevRoberts(0, 10),
        lambda: ShiryaevRoberts(math.nan, 10),
        lambda: ShiryaevRoberts(0.1, 1),
        lambda: ShiryaevRoberts(0.1, 10).feed(math.nan),
        lambda: ShiryaevRoberts(0.1, 10).feed(1.5),
        lambda: threshold(0, 10),
        lambda: threshold(0.1, 0),
        lambda: threshold(0.1, 10, 0.1, 0.0),
        lambda: ShiryaevRoberts.resume({"margin": 0.1, "threshold": 5, "n": 1, "alarm": False, "sums": [1.0]}),
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError):
        wrong()
