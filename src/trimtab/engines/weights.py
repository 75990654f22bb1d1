"""Weight formats: float32 numbers to bfloat16, INT8 a row or INT4 a group, and from there to graph constants.

INT8: symmetric, one float16 scale an output row. INT4: symmetric in [-8, 7], one float16 scale for each group of input
columns, its sign chosen so that the entry of largest magnitude takes the code -8 (no code is wasted). Round to nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

PRECISIONS = ("f32", "bf16", "int8", "int4")
GROUPS = (128, 64, 32)
SMALLEST = 6.2e-5  # about the smallest normal float16: below it a scale would lose its digits


def bf16_codes(values: np.ndarray) -> np.ndarray:
    """The upper halves (uint16) of the float32 values, rounded to nearest, ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def int8_codes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[rows, columns] -> codes int8 [rows, columns] and scales float16 [rows, 1]; value = code x scale."""
    import numpy as np

    largest = np.abs(values).max(axis=1, keepdims=True)
    scales = np.maximum(largest / 127, SMALLEST).astype(np.float16)
    codes = np.clip(np.rint(values / scales.astype(np.float32)), -127, 127)
    return codes.astype(np.int8), scales


def int4_codes(values: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """[rows, columns] -> codes int8 in [-8, 7] [rows, groups, group] and scales float16 [rows, groups, 1]."""
    import numpy as np

    rows, columns = values.shape
    grouped = values.reshape(rows, columns // group, group)
    place = np.abs(grouped).argmax(axis=2)[..., None]
    scales = np.take_along_axis(grouped, place, axis=2) / -8
    scales = np.where(np.abs(scales) < SMALLEST, SMALLEST, scales).astype(np.float16)
    codes = np.clip(np.rint(grouped / scales.astype(np.float32)), -8, 7)
    return codes.astype(np.int8), scales


def group_of(columns: int) -> int | None:
    """The largest INT4 group that divides `columns`; None: the matrix is kept in INT8."""
    return next((group for group in GROUPS if columns % group == 0), None)


def matrix(name: str, values: np.ndarray, precision: str) -> Any:
    """A graph node that yields the [rows, columns] matrix as float32, stored in `precision` under the name `name`."""
    import numpy as np
    from openvino import opset13 as ops

    if precision == "f32":
        node = ops.constant(values, shared_memory=False)
        node.set_friendly_name(name)
        return node
    if precision == "bf16":
        return ops.convert(_bf16_constant(name, values), "f32")
    group = group_of(values.shape[1]) if precision == "int4" else None
    codes, scales = int8_codes(values) if group is None else int4_codes(values, group)
    stored = ops.constant(codes, shared_memory=False) if group is None else _int4_constant(codes)
    stored.set_friendly_name(name)
    product = ops.multiply(ops.convert(stored, "f16"), ops.constant(scales, shared_memory=False))
    if group is not None:
        product = ops.reshape(product, ops.constant(np.array(values.shape, dtype=np.int64), shared_memory=False), False)
    return ops.convert(product, "f32")


def _bf16_constant(name: str, values: np.ndarray) -> Any:
    import numpy as np
    from openvino import Shape, Tensor, Type
    from openvino.op import Constant

    tensor = Tensor(Type.bf16, Shape(list(values.shape)))
    np.asarray(tensor.data).view(np.uint16)[...] = bf16_codes(values)
    node = Constant(tensor, shared_memory=False)
    node.set_friendly_name(name)
    return node


def _int4_constant(codes: np.ndarray) -> Any:
    """Two codes a byte, the first in the low half."""
    import numpy as np
    from openvino import Shape, Tensor, Type
    from openvino.op import Constant

    halves = codes.reshape(-1).view(np.uint8) & 15
    packed = np.ascontiguousarray(halves[0::2] | (halves[1::2] << 4))
    return Constant(Tensor(packed, Shape(list(codes.shape)), Type.i4), shared_memory=False)
