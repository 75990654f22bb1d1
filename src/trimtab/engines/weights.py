"""Weight formats: float32 numbers to bfloat16 or to codes of a few bits, and from there to graph constants.

INT8: symmetric, one float16 scale an output row. INT4: symmetric in [-8, 7], one float16 scale for each group of input
columns, its sign chosen so that the entry of largest magnitude takes the code -8 (no code is wasted). Asymmetric codes
begin at 0 and have a zero point each group. Round to nearest, unless whoever rounds knows better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    import numpy as np

PRECISIONS = ("f32", "bf16", "int8", "int4")
GROUPS = (128, 64, 32)
_CODED = ("i4", "u4", "i8", "u8")
SMALLEST = 6.2e-5  # about the smallest normal float16: below it a scale would lose its digits
# The look-up table and the output matrix, where they are two.
TABLES = ("model.embed_tokens.weight", "lm_head.weight")

# (a weight's Hugging Face name, its float32 values) -> the graph node that yields them
Store = Callable[[str, "np.ndarray"], Any]


class Format(msgspec.Struct, frozen=True):
    """`bits` a code, one scale for each `group` input columns (0: for the row), with a zero point or `symmetric`."""

    bits: int
    group: int = 0
    symmetric: bool = True

    @property
    def word(self) -> str:
        shape = f" in groups of {self.group}" if self.group else " by row"
        return f"INT{self.bits}{shape}{'' if self.symmetric else ', asymmetric'}"


class Codes(NamedTuple):
    """A matrix in a Format: integer codes [rows, groups, group], scales float16 and zero points uint8 (None where
    symmetric), both [rows, groups, 1]. value = (code - zero) x scale."""

    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray | None
    bits: int

    @property
    def values(self) -> np.ndarray:
        """[rows, columns] float32."""
        import numpy as np

        codes = self.codes.astype(np.float32)
        if self.zeros is not None:
            codes = codes - self.zeros.astype(np.float32)
        found: np.ndarray = (codes * self.scales.astype(np.float32)).reshape(len(codes), -1)
        return found


def grouped(values: np.ndarray, group: int) -> np.ndarray:
    """[rows, columns] -> [rows, groups, group]; one group a row where `group` is 0."""
    rows, columns = values.shape
    parts: np.ndarray = values.reshape(rows, -1, group or columns)
    return parts


def grid(values: np.ndarray, form: Format, shrink: float = 1.0) -> tuple[np.ndarray, np.ndarray | None]:
    """Scales and zero points for [rows, groups, group]; `shrink` < 1 clips that share off the range."""
    import numpy as np

    if not form.symmetric:
        low, high = np.minimum(values.min(2, keepdims=True), 0), np.maximum(values.max(2, keepdims=True), 0)
        most = 2**form.bits - 1
        scales = np.maximum(shrink * (high - low) / most, SMALLEST).astype(np.float16)
        zeros = np.clip(np.rint(-shrink * low / scales.astype(np.float32)), 0, most).astype(np.uint8)
        return scales, zeros
    if form.bits == 8 and not form.group:
        largest = np.abs(values).max(axis=2, keepdims=True)
        return np.maximum(shrink * largest / 127, SMALLEST).astype(np.float16), None
    place = np.abs(values).argmax(axis=2)[..., None]
    scales = shrink * np.take_along_axis(values, place, axis=2) / -(2 ** (form.bits - 1))
    return np.where(np.abs(scales) < SMALLEST, SMALLEST, scales).astype(np.float16), None


def rounded(values: np.ndarray, scales: np.ndarray, zeros: np.ndarray | None, form: Format) -> np.ndarray:
    """The nearest codes: int8, or uint8 where there are zero points."""
    import numpy as np

    codes: np.ndarray = np.rint(values / scales.astype(np.float32))
    if zeros is not None:
        codes = np.clip(codes + zeros, 0, 2**form.bits - 1)
        return codes.astype(np.uint8)
    half = 2 ** (form.bits - 1)
    codes = np.clip(codes, 1 - half if form.bits == 8 and not form.group else -half, half - 1)
    return codes.astype(np.int8)


def encode(values: np.ndarray, form: Format) -> Codes:
    """[rows, columns] rounded to nearest; `form.group` must divide the columns."""
    parts = grouped(values, form.group)
    scales, zeros = grid(parts, form)
    return Codes(rounded(parts, scales, zeros, form), scales, zeros, form.bits)


def bf16_codes(values: np.ndarray) -> np.ndarray:
    """The upper halves (uint16) of the float32 values, rounded to nearest, ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def group_of(columns: int) -> int | None:
    """The largest INT4 group that divides `columns`; None: the matrix is kept in INT8."""
    return next((group for group in GROUPS if columns % group == 0), None)


def activation_group(model: Any) -> int | None:
    """How many neighbouring activations share one scale when they are multiplied in 8 bits (dynamic quantization).

    The most of GROUPS that divides every matrix and every group of weights in `model`; None: nothing is coded, or none
    does. The runtime takes 32 unless told, at which a prompt costs about a fifth more; where a group does not fit a
    matrix, it multiplies that one in floating point, which is slower than 32.
    """
    forms = [
        node.get_output_shape(0)
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() in _CODED
    ]
    lengths = {form[-1] for form in forms if len(form) > 1 and form[-1] > 1}  # of 1: zero points
    return next((group for group in GROUPS if lengths and all(length % group == 0 for length in lengths)), None)


def format_of(precision: str, columns: int) -> Format:
    """The Format that "int8" or "int4" means for a matrix of so many columns."""
    group = group_of(columns) if precision == "int4" else None
    return Format(4, group) if group else Format(8)


def uniform(precision: str) -> Store:
    """Every matrix in `precision`, save that the tables are never below INT8: a small format there costs accuracy on
    every token and saves little."""

    def store(name: str, values: np.ndarray) -> Any:
        return matrix(name, values, "int8" if precision == "int4" and name in TABLES else precision)

    return store


def matrix(name: str, values: np.ndarray, precision: str) -> Any:
    """A graph node that yields the [rows, columns] matrix as float32, stored in `precision` for the weight `name`."""
    from openvino import opset13 as ops

    if precision == "f32":
        node = ops.constant(values, shared_memory=False)
        node.set_friendly_name(f"self.{name}")
        return node
    if precision in ("bf16", "f16"):
        return ops.convert(_half_constant(name, values, precision), "f32")
    return coded(name, encode(values, format_of(precision, values.shape[1])))


def coded(name: str, stored: Codes) -> Any:
    """The node of a matrix whose codes are made already, 4 or 8 bits each."""
    import numpy as np
    from openvino import opset13 as ops

    rows, groups, group = stored.codes.shape
    kind = ("i" if stored.zeros is None else "u") + str(stored.bits)
    form = [rows, group] if groups == 1 else [rows, groups, group]
    scales = stored.scales.reshape([*form[:-1], 1])
    held = _constant(stored.codes.reshape(form), kind)
    held.set_friendly_name(f"self.{name}")
    node = ops.convert(held, "f16")
    if stored.zeros is not None:
        node = ops.subtract(node, ops.convert(_constant(stored.zeros.reshape(scales.shape), kind), "f16"))
    node = ops.multiply(node, ops.constant(scales, shared_memory=False))
    if groups > 1:
        node = ops.reshape(node, ops.constant(np.array([rows, groups * group], np.int64), shared_memory=False), False)
    return ops.convert(node, "f32")


def _half_constant(name: str, values: np.ndarray, precision: str) -> Any:
    import numpy as np
    from openvino import Shape, Tensor, Type
    from openvino.op import Constant

    tensor = Tensor(getattr(Type, precision), Shape(list(values.shape)))
    halves = bf16_codes(values) if precision == "bf16" else values.astype(np.float16).view(np.uint16)
    np.asarray(tensor.data).view(np.uint16)[...] = halves
    node = Constant(tensor, shared_memory=False)
    node.set_friendly_name(f"self.{name}")
    return node


def _constant(codes: np.ndarray, kind: str) -> Any:
    """Of 4 bits two codes a byte, the first in the low half."""
    import numpy as np
    from openvino import Shape, Tensor, Type
    from openvino import opset13 as ops
    from openvino.op import Constant

    if kind[1:] == "8":
        return ops.constant(codes, shared_memory=False)
    halves = codes.reshape(-1).view(np.uint8) & 15
    halves = np.append(halves, halves[:0] if len(halves) % 2 == 0 else np.zeros(1, np.uint8))
    packed = np.ascontiguousarray(halves[0::2] | (halves[1::2] << 4))
    return Constant(Tensor(packed, Shape(list(codes.shape)), getattr(Type, kind)), shared_memory=False)
