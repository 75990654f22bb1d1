"""The safetensors reader: right numbers from good files, one ModelError from any other bytes."""

import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.engines.tiny import write_safetensors
from trimtab.engines.tensors import read_header, read_tensor
from trimtab.errors import ModelError

QUICK = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def packed(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def read_all(path):
    return {name: read_tensor(name, entry) for name, entry in read_header(path).items()}


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_float_types_are_read_as_float32(tmp_path, dtype):
    values = np.array([[1.5, -2.0, 0.0], [0.25, 96.0, -0.125]], dtype=np.float32)
    if dtype == "BF16":
        raw = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    else:
        raw = values.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
    header = {"__metadata__": {"format": "pt"}, "w": entry(dtype, [2, 3], 0, len(raw))}
    (tmp_path / "m.safetensors").write_bytes(packed(header, raw))
    (found,) = read_all(tmp_path / "m.safetensors").values()
    assert found.dtype == np.float32
    assert np.array_equal(found, values)


def test_what_the_safetensors_library_writes_is_read(tmp_path):
    from safetensors.numpy import save_file

    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, dtype=np.float16)}
    save_file(arrays, tmp_path / "m.safetensors")
    found = read_all(tmp_path / "m.safetensors")
    assert all(np.array_equal(found[name], array.astype(np.float32)) for name, array in arrays.items())


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (b"[]", "broken header"),
        (b"{", "broken header"),
        (b"[" * 5000, "broken header"),
        ({"w": []}, "wrongly"),
        ({"w": {"dtype": "F32"}}, "wrongly"),
        ({"w": entry("F32", [1], 4, 0)}, "wrongly"),
        ({"w": entry("F32", [-1], 0, 4)}, "wrongly"),
        ({"w": entry("F32", [True], 0, 4)}, "wrongly"),
        ({"w": entry("F32", [2], 0, 4)}, "wrongly"),
        ({"w": entry("F32", [2**62, 2**62], 0, 4)}, "wrongly"),
        ({"w": entry("F32", [2], 0, 8)}, "cut short"),
        ({"w": entry("F32", [2**40], 0, 2**42)}, "cut short"),
        ({"w": entry("I64", [0], 0, 0)}, "stored as 'I64'"),
        ({"w": entry("F8_E4M3", [4], 0, 4)}, "stored as 'F8_E4M3'"),
    ],
)
def test_a_wrong_header_is_one_clear_error(tmp_path, header, word):
    (tmp_path / "m.safetensors").write_bytes(packed(header, b"\0" * 4))
    with pytest.raises(ModelError, match=word):
        read_all(tmp_path / "m.safetensors")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, bad):
    write_safetensors(tmp_path / "m.safetensors", {"w": np.array([1.0, bad])})
    with pytest.raises(ModelError, match="NaN or infinity"):
        read_all(tmp_path / "m.safetensors")


def test_a_file_cut_after_its_header_was_read_is_an_error(tmp_path):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {"w": np.ones(100)})
    (found,) = read_header(path).values()
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelError, match="cut short"):
        read_tensor("w", found)


@QUICK
@given(content=st.binary(max_size=400))
@example(content=b"")
@example(content=b"\xff" * 64)
@example(content=struct.pack("<Q", 2**63) + b"{}")
def test_any_bytes_are_a_model_or_a_model_error(tmp_path, content):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    try:
        read_all(path)
    except ModelError as error:
        assert "\n" not in str(error)


@QUICK
@given(cut=st.integers(0, 10_000), place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_cut_or_altered_file_is_a_model_or_a_model_error(tmp_path, cut, place, byte):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {"model.a": np.ones((3, 5)), "model.b": np.ones(7)})
    content = bytearray(path.read_bytes())
    whole = len(content)
    content[place % whole] = byte
    path.write_bytes(content[: cut % (whole + 1)])
    try:
        found = read_all(path)
    except ModelError:
        return
    assert sum(array.nbytes for array in found.values()) <= whole


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I8", "X"]) | json_values,
        "shape": st.lists(st.integers(-1, 2**64), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-1, 2**64), min_size=2, max_size=2) | json_values,
    }
)


@QUICK
@given(header=st.dictionaries(st.text(max_size=8), entries | json_values, max_size=3))
def test_any_header_is_a_model_or_a_model_error(tmp_path, header):
    path = tmp_path / "m.safetensors"
    path.write_bytes(packed(header, b"\0" * 64))
    try:
        read_all(path)
    except ModelError as error:
        assert "\n" not in str(error)
