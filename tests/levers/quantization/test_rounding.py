"""Compensated rounding: its outputs move less than those of rounding to nearest, and its codes are codes."""

import numpy as np
import pytest

from trimtab.engines.weights import Format, encode
from trimtab.levers.quantization import rounding

FORMATS = [Format(8), Format(4, 32), Format(4, 128), Format(4, 64, symmetric=False), Format(3, 32), Format(2, 64)]


@pytest.fixture(scope="module")
def layer():
    """A matrix, and the second moments of inputs some of whose channels are large and alike."""
    draw = np.random.default_rng(0)
    given = draw.standard_normal((600, 128)) * np.exp(draw.standard_normal(128))
    given[:, 1] = given[:, 0] + 0.1 * given[:, 1]
    return draw.standard_normal((96, 128)).astype(np.float32), given.T @ given


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.word)
def test_outputs_move_less_than_by_rounding_to_nearest(layer, form):
    values, second = layer
    made = rounding.compensated(values, second, form)
    nearest = encode(values, form)
    assert made.codes.shape == nearest.codes.shape
    assert made.codes.dtype == nearest.codes.dtype
    low, high = (-(2 ** (form.bits - 1)), 2 ** (form.bits - 1) - 1) if form.symmetric else (0, 2**form.bits - 1)
    assert low <= made.codes.min()
    assert made.codes.max() <= high
    assert rounding.moved(values, made.values, second) < 0.97 * rounding.moved(values, nearest.values, second)


def test_without_samples_it_is_rounding_to_nearest(layer):
    values, _ = layer
    assert (rounding.compensated(values, None, Format(4, 32)).codes == encode(values, Format(4, 32)).codes).all()


def test_a_channel_that_is_never_used_does_no_harm(layer):
    values, second = layer
    silent = second.copy()
    silent[5], silent[:, 5] = 0, 0
    made = rounding.compensated(values, silent, Format(4, 32))
    assert np.isfinite(made.values).all()
    assert rounding.moved(values, made.values, silent) < 0.02
