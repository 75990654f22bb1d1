"""The learned metric tells groups apart where the cosine cannot."""

import numpy as np

from trimtab.levers.cache.metric import Metric

DIMS, LOUD = 16, 6


def questions(rng, n=600, groups=12):
    """Groups differ in ten quiet directions; the loud ones are noise."""
    centres = np.c_[np.zeros((groups, LOUD)), rng.normal(size=(groups, DIMS - LOUD))]
    group = np.arange(n) % groups
    noise = rng.normal(size=(n, DIMS)) * np.r_[np.full(LOUD, 4.0), np.full(DIMS - LOUD, 0.5)]
    return group, (centres[group] + noise).astype(np.float32)


def learned(group, vectors):
    metric = Metric(DIMS)
    for slot, vector in zip(group, vectors, strict=True):
        metric.add(int(slot), vector)
    metric.fit()
    return metric


def test_it_finds_the_group_where_the_cosine_fails():
    rng = np.random.default_rng(0)
    group, vectors = questions(rng, 700)
    metric = learned(group[:600], vectors[:600])
    slots = list(range(12))
    found = [int(np.argmax(metric.ratios(v, slots))) for v in vectors[600:]]
    centres = np.array([vectors[:600][group[:600] == slot].mean(0) for slot in slots])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    nearest = (vectors[600:] @ centres.T).argmax(1)
    assert (np.array(found) == group[600:]).mean() > 0.9 > (nearest == group[600:]).mean() + 0.1


def test_a_stranger_is_more_likely_a_new_group():
    rng = np.random.default_rng(1)
    group, vectors = questions(rng)
    metric = learned(group, vectors)
    stranger = np.r_[np.zeros(LOUD), rng.normal(size=DIMS - LOUD) * 3].astype(np.float32)
    assert max(metric.ratios(stranger, list(range(12)))) < 0 < max(metric.ratios(vectors[5], list(range(12))))


def test_it_says_nothing_before_it_has_learned():
    metric = Metric(DIMS)
    metric.add(0, np.ones(DIMS, dtype=np.float32))
    metric.fit()
    assert metric.ratios(np.ones(DIMS, dtype=np.float32), [0]) == [0.0]


def test_merging_is_as_if_it_had_been_one_group():
    rng = np.random.default_rng(2)
    group, vectors = questions(rng)
    split = np.where((group == 3) & (np.arange(len(group)) % 24 == 3), 12, group)
    merged = learned(split, vectors)
    merged.merge(3, 12)
    merged.learned = 0.0
    merged.fit()
    whole = learned(group, vectors)
    slots = list(range(12))
    assert np.allclose(merged.ratios(vectors[0], slots), whole.ratios(vectors[0], slots), atol=1e-3)


def test_more_groups_than_room_make_room():
    rng = np.random.default_rng(3)
    group, vectors = np.arange(300) // 2, rng.normal(size=(300, DIMS)).astype(np.float32)
    metric = learned(group, vectors)
    assert metric.members == [2] * 150
    metric.add(400, vectors[0])
    assert len(metric.ratios(vectors[0], [0, 149, 400])) == 3
