"""The forecast of hits: on curves whose rest is known, on its bounds, and on a real stream that it has not seen."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.levers import public
from trimtab.errors import TrimtabError
from trimtab.levers import encoder
from trimtab.levers.cache import forecast, glance, options, recorded, replay
from trimtab.levers.cache.policy import Policy, Setting
from trimtab.trace import Trace

OPTIONS = options.read({})


def growing(seed, count):
    """Hits with a chance that grows and levels off, about as fast as on the public streams."""
    chance = np.random.default_rng(seed)
    return chance.random(count) < 0.75 * (1 - np.exp(-np.arange(count) / 1500))


def test_a_growing_curve_is_carried_on_and_covered():
    held = 0
    for seed in range(20):
        hits = growing(seed, 20_000)
        told = forecast.forecast(hits[:4000].tolist(), 16_000)
        held += told.low <= hits[4000:].mean() <= told.high
        assert told.rate > told.seen, "the rest has more hits than the cold start"
        assert told.high - told.low < 0.6
    assert held >= 18


def test_a_level_curve_stays_and_a_longer_look_is_surer():
    chance = np.random.default_rng(1)
    hits = chance.random(12_000) < 0.3
    short, long = forecast.forecast(hits[:3000].tolist(), 3000), forecast.forecast(hits.tolist(), 3000)
    assert long.low <= 0.3 <= long.high
    assert long.high - long.low < short.high - short.low


def test_of_little_nothing_is_promised():
    told = forecast.forecast([True] * 50, 1000, 0.8)
    assert (told.low, told.high) == (0.0, 0.8)
    young = forecast.forecast(growing(3, 1500).tolist(), 10_000, 0.9)
    assert young.high == 0.9
    assert forecast.forecast([], 10).rate == 0


@settings(max_examples=60)
@given(st.lists(st.booleans(), max_size=600), st.integers(-5, 10**6), st.floats(0, 1))
def test_it_is_always_an_interval_within_its_bounds(hits, ahead, ceiling):
    told = forecast.forecast(hits, ahead, ceiling)
    assert 0 <= told.low <= told.rate <= told.high <= ceiling


def calls_of(records):
    return recorded.calls([Trace(r.call.id, (r.call,), {r.call.id: r.payload}) for r in records], OPTIONS, 10_000)


def test_exact_repeats_hit_without_an_encoder_and_changed_answers_are_wrong():
    said = [("is it open", "yes"), ("is it far", "no"), ("is it open", "yes"), ("is it far", "a little")]
    found = glance.glance(calls_of([public.record(at, *pair) for at, pair in enumerate(said)]), OPTIONS, None)
    assert found.tier == ("", "", "exact", "exact")
    assert found.wrong == (False, False, False, True)
    assert found.repeats == 0.5


def test_questions_under_two_system_prompts_are_never_near_each_other():
    chance = random.Random(2)
    made = []
    for at in range(1200):
        name = chance.choice(["alpha", "beta", "gamma", "delta"])
        made.append(public.record(at, f"{name} please {chance.random():.3f}"[:16], name))

    def embed(texts):
        rows = np.array([[float(text.startswith(n)) for n in ("alpha", "beta", "gamma", "delta")] for text in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    one = glance.glance(calls_of(made), OPTIONS, embed)
    for at, each in enumerate(made):
        each.payload.request["messages"][0]["content"] = f"prompt {at}"
    apart = glance.glance(calls_of(made), OPTIONS, embed)
    assert not any(apart.tier)
    assert sum(map(bool, one.tier)) >= sum(map(bool, apart.tier))


def test_on_a_real_stream_the_rest_is_within_the_forecast():
    """One short stream of clinc150; all 20 are in benchmarks/audit_levers.py."""
    pairs = public.clinc150()
    try:
        its = encoder.load()
    except TrimtabError as error:
        pytest.skip(f"no sentence encoder: {error}")
    intents = sorted({said for _, said in pairs if not said.startswith("oos")})[:60]
    some = [pair for pair in pairs if pair[1] in set(intents)]
    random.Random(11).shuffle(some)
    some = some[:6000]
    questions = [asked for asked, _ in some]
    _, answers = np.unique([said for _, said in some], return_inverse=True)
    whole = replay.Stream(questions, answers, its.embed(questions))
    found = replay.replay(whole, Policy(Setting(alpha=0.01, explore=0.02), 77, its.dims))
    truth = (found.served >= 3000).sum() / 3000
    embedded = dict(zip(questions, whole.vectors, strict=True))
    told = glance.glance(
        calls_of([public.record(at, *pair) for at, pair in enumerate(some[:3000])]),
        OPTIONS,
        lambda texts: np.stack([embedded[text] for text in texts]),
    )
    ahead = forecast.forecast([bool(tier) for tier in told.tier], 3000, (1 + told.repeats) / 2)
    assert ahead.low <= truth <= ahead.high, json.dumps([ahead.low, truth, ahead.high])
    assert ahead.high - ahead.low < 0.6
