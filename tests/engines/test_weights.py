"""Weight formats: what a graph constant yields is the numpy rounding, bit for bit where the format allows."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trimtab.engines import weights

FLOATS = st.floats(-100, 100, width=32)


def matrices(columns):
    shape = st.tuples(st.integers(1, 5), st.just(columns))
    return arrays.arrays(np.float32, shape, elements=FLOATS)


def yielded(stored):
    """The matrix a compiled graph computes from the stored one."""
    import openvino
    from openvino import opset13 as ops

    row = ops.parameter([1], np.float32)
    node = ops.add(stored, ops.multiply(row, np.float32(0)))
    model = openvino.Model([ops.result(node)], [row], "one")
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([np.zeros(1, dtype=np.float32)])[0]


@settings(max_examples=100, deadline=None)
@given(matrices(32))
def test_int8_errs_by_half_a_step_at_most(values):
    codes, scales, _, _ = weights.encode(values, weights.Format(8))
    codes, step = codes[:, 0], scales[:, 0].astype(np.float32)
    # float16 scales may fall short of the largest value / 127 by one part in 2048: that much is clipped.
    slack = np.abs(values).max() * 2**-10
    assert (np.abs(codes * step - values) <= step / 2 + slack).all()
    assert np.abs(codes).max(initial=0) <= 127


@settings(max_examples=100, deadline=None)
@given(matrices(64), st.sampled_from([2, 3, 4, 6]))
def test_small_codes_err_by_a_step_at_most_and_half_a_step_on_their_longer_side(values, bits):
    stored = weights.encode(values, weights.Format(bits, 32))
    parts = values.reshape(stored.codes.shape)
    step = np.abs(stored.scales.astype(np.float32))
    error = np.abs(stored.values.reshape(parts.shape) - parts)
    slack = np.abs(values).max() * 2**-9
    half = 2 ** (bits - 1)
    clipped = (stored.codes == half - 1) | (stored.codes == -half)
    assert (error <= np.where(clipped, step, step / 2) + slack).all()
    assert stored.codes.min() >= -half
    assert stored.codes.max() <= half - 1


@settings(max_examples=100, deadline=None)
@given(matrices(64), st.sampled_from([3, 4, 8]))
def test_with_a_zero_point_codes_err_by_a_step_at_most_and_reach_both_ends(values, bits):
    stored = weights.encode(values, weights.Format(bits, 32, symmetric=False))
    parts = values.reshape(stored.codes.shape)
    step = stored.scales.astype(np.float32)
    assert (np.abs(stored.values.reshape(parts.shape) - parts) <= step * 1.01 + np.abs(values).max() * 2**-9).all()
    assert stored.codes.dtype == stored.zeros.dtype == np.uint8
    assert max(stored.codes.max(initial=0), stored.zeros.max(initial=0)) <= 2**bits - 1


@settings(max_examples=200, deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(1 + 2**-8)  # half-way: down to the even code
@example(1 + 3 * 2**-8)  # half-way: up to the even code
def test_bf16_rounds_to_the_nearest(value):
    import torch

    code = int(weights.bf16_codes(np.array([value], dtype=np.float32))[0])
    truth = torch.tensor([value], dtype=torch.float32).to(torch.bfloat16).view(torch.uint16)
    assert code == int(truth[0])


@pytest.mark.engine
@pytest.mark.parametrize(
    ("precision", "columns"), [("f32", 7), ("bf16", 7), ("f16", 7), ("int8", 7), ("int4", 256), ("int4", 96)]
)
def test_the_graph_yields_what_was_stored(precision, columns):
    values = np.random.default_rng(0).standard_normal((6, columns)).astype(np.float32)
    values[3] = 0.0
    values[4] *= 1e-7
    if precision == "f32":
        truth = values
    elif precision == "f16":
        truth = values.astype(np.float16).astype(np.float32)
    elif precision == "bf16":
        truth = (weights.bf16_codes(values).astype(np.uint32) << 16).view(np.float32)
    else:
        truth = weights.encode(values, weights.format_of(precision, columns)).values
    assert np.abs(yielded(weights.matrix("w", values, precision)) - truth).max() <= 2**-11 * np.abs(truth).max()


@pytest.mark.engine
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [0, 32])
def test_the_graph_yields_codes_made_elsewhere(bits, symmetric, group):
    values = np.random.default_rng(1).standard_normal((5, 96)).astype(np.float32)
    stored = weights.encode(values, weights.Format(bits, group, symmetric))
    found = yielded(weights.coded("w", stored))
    assert np.abs(found - stored.values).max() <= 2**-11 * np.abs(values).max()
    assert np.abs(found - values).max() < 2 ** -(bits - 2) * np.abs(values).max()


def test_a_matrix_that_no_group_divides_is_kept_in_int8():
    assert [weights.group_of(columns) for columns in (256, 192, 96, 100)] == [128, 64, 32, None]
    node = weights.matrix("w", np.ones((2, 100), dtype=np.float32), "int4")
    stored = node.input_value(0).get_node().input_value(0).get_node().input_value(0).get_node()
    assert stored.get_element_type().get_type_name() == "i8"


def test_the_look_up_table_is_never_below_int8():
    store = weights.uniform("int4")
    assert _kind(store("model.embed_tokens.weight", np.ones((2, 128), np.float32))) == "i8"
    assert _kind(store("model.layers.0.mlp.up_proj.weight", np.ones((2, 256), np.float32))) == "i4"


def _kind(node):
    """The type of the first constant above a node."""
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return node.get_element_type().get_type_name()


@pytest.mark.parametrize(
    ("precision", "columns", "group"),
    [("int8", (256, 384), 128), ("int8", (256, 192), 64), ("int4", (256, 96), 32), ("int8", (100,), None),
     ("bf16", (256,), None)],
)  # fmt: skip
def test_activations_are_scaled_in_groups_that_fit_every_matrix(precision, columns, group):
    import openvino
    from openvino import opset13 as ops

    rows, results = [], []
    for number, count in enumerate(columns):
        rows.append(ops.parameter([1, count], np.float32))
        held = weights.matrix(f"w{number}", np.ones((2, count), np.float32), precision)
        results.append(ops.result(ops.matmul(rows[-1], held, False, True)))
    assert weights.activation_group(openvino.Model(results, rows, "some")) == group


def test_zero_points_are_no_matrix():
    import openvino
    from openvino import opset13 as ops

    row = ops.parameter([1, 256], np.float32)
    stored = weights.encode(
        np.random.default_rng(1).normal(size=(2, 256)).astype(np.float32), weights.Format(4, 64, False)
    )
    node = ops.matmul(row, weights.coded("w", stored), False, True)
    assert weights.activation_group(openvino.Model([ops.result(node)], [row], "one")) == 64
