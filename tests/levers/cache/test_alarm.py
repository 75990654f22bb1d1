"""The detectors are silent while forecasts hold, and ring soon when answers change."""

import random

from hypothesis import given
from hypothesis import strategies as st

from trimtab.levers.cache.alarm import DOUBT, LEAST, SHIFTS, Alarm, Watch, ratio


@given(st.floats(0, 1), st.sampled_from(SHIFTS))
def test_while_the_forecast_is_no_worse_than_doubted_the_ratio_wins_nothing(forecast, shift):
    """E[ratio] <= 1 for every true share up to the doubted forecast: then R is a fair game at best."""
    true = min(1.0, LEAST + DOUBT * forecast)
    assert true * ratio(True, forecast, shift) + (1 - true) * ratio(False, forecast, shift) <= 1 + 1e-9


def labels(rng, n, changed=0.0):
    for _ in range(n):
        forecast = rng.choice([0.004, 0.02, 0.1, 0.2])
        yield rng.random() < forecast or rng.random() < changed, forecast


def test_it_is_silent_while_nothing_changes():
    rng = random.Random(1)
    alarm = Alarm()
    assert not any(alarm.feed(wrong, forecast, False) for wrong, forecast in labels(rng, 20_000))


def test_it_rings_within_a_few_hundred_labels_of_a_change():
    for seed in range(10):
        rng, alarm = random.Random(seed), Alarm()
        assert not any(alarm.feed(wrong, forecast, False) for wrong, forecast in labels(rng, 3000))
        rang = [alarm.feed(wrong, forecast, False) for wrong, forecast in labels(rng, 400, 0.25)]
        assert any(rang)


def test_many_groups_held_at_once_ring_it_soon():
    alarm = Alarm()
    assert not any(alarm.feed(False, 0.02, at % 400 == 0) for at in range(4000))
    assert any(alarm.feed(False, 0.02, at % 8 == 0) for at in range(80))


def test_a_group_is_held_by_failures_released_by_successes_and_retired_by_more():
    watch = Watch()
    for _ in range(3):
        watch.grow()
    assert not watch.feed(0, True, 0.02)
    assert watch.held == [True, False, False]
    for _ in range(3):
        watch.feed(0, False, 0.02)
    assert not watch.held[0]
    assert any(watch.feed(1, True, 0.02) for _ in range(3))


def test_failures_that_were_forecast_hold_nothing():
    watch = Watch()
    watch.grow()
    for _ in range(50):
        watch.feed(0, True, 0.6)
    assert not watch.held[0]


def test_under_suspicion_every_group_must_prove_itself():
    watch = Watch()
    watch.grow()
    watch.grow()
    watch.suspect()
    assert watch.held == [True, True]
    for _ in range(2):
        watch.feed(0, False, 0.05)
    assert watch.held == [False, True]
