"""Effects of a factorial against worlds whose effects are known; coverage of the interval."""

import math
import random

import pytest

from trimtab.stats.factorial import Row, interaction, main_effect, ratio, t95


def rows(blocks=6, noise=0.05, joint=1.0, seed=0, skip=None):
    chance, found = random.Random(seed), []
    for block in range(blocks):
        day = math.exp(chance.gauss(0, 0.5))  # a block's own speed must not matter
        for a in "01":
            for b in "01":
                if (a, b) != skip:
                    value = day * 3.0 ** int(a) * 0.5 ** int(b) * joint ** (int(a) * int(b))
                    found.append(Row(block, {"a": a, "b": b}, value * math.exp(chance.gauss(0, noise))))
    return found


def test_effects_are_found_whatever_the_blocks_speed():
    effect = main_effect(rows(), "a", "0", "1")
    assert effect.factor == pytest.approx(3.0, rel=0.1)
    assert (effect.blocks, effect.cells) == (6, 2)
    assert main_effect(rows(), "b", "0", "1").factor == pytest.approx(0.5, rel=0.1)
    assert interaction(rows(joint=0.7), ("a", "0", "1"), ("b", "0", "1")).factor == pytest.approx(0.7, rel=0.1)


def test_a_setting_without_its_pair_is_left_out():
    effect = main_effect(rows(skip=("1", "1")), "a", "0", "1")
    assert effect.cells == 1
    with pytest.raises(ValueError):
        interaction(rows(skip=("1", "1")), ("a", "0", "1"), ("b", "0", "1"))


def test_the_interval_covers_as_often_as_it_says():
    hits = 0
    for seed in range(400):
        effect = main_effect(rows(seed=seed), "a", "0", "1")
        hits += effect.low <= 3.0 <= effect.high
    assert 0.92 <= hits / 400 <= 0.98


def test_one_block_has_no_width_and_none_is_refused():
    one = ratio("x", [math.log(2)], 1)
    assert (one.low, one.high) == (one.factor, one.factor)
    for wrong in (lambda: ratio("x", [], 0), lambda: t95(0)):
        with pytest.raises(ValueError):
            wrong()


def test_quantiles_fall_towards_the_normal():
    values = [t95(freedom) for freedom in range(1, 60)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 1.96
