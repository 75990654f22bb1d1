"""Safetensors files: the header is checked in full before a byte of a tensor is read. Knows no model.

The format: 8 bytes little-endian header length N, N bytes of JSON {name: {dtype, shape, data_offsets}}, then the data.
https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from trimtab.engines.weights import bf16_codes
from trimtab.errors import MissingExtra, ModelError

if TYPE_CHECKING:
    import numpy as np

WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
WIDTHS |= {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}
READABLE = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
HEADER_LIMIT = 100 * 1024 * 1024  # the format's own limit


class Entry(msgspec.Struct, frozen=True):
    """One tensor of a file: `offset` is counted from the file's first byte, `size` is in bytes."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


def read_header(path: Path) -> dict[str, Entry]:
    """Every tensor the file declares, each checked to lie inside the file and to fit its shape.

    Errors: ModelError for anything that is not a whole, well-formed safetensors file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            if len(prefix) < 8:
                raise ModelError(f"{path} is cut short ({size} bytes): copy the file again")
            (length,) = struct.unpack("<Q", prefix)
            if length > min(size - 8, HEADER_LIMIT):
                raise ModelError(f"{path} is cut short or is no safetensors file: copy the file again")
            header = json.loads(file.read(length))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} has a broken header: copy the file again") from error
    if not isinstance(header, dict):
        raise ModelError(f"{path} has a broken header: copy the file again")
    return {
        name: _entry(path, name, fields, 8 + length, size) for name, fields in header.items() if name != "__metadata__"
    }


def _entry(path: Path, name: str, fields: Any, start: int, size: int) -> Entry:
    broken = ModelError(f"{path} describes tensor {name!r} wrongly: copy the file again")
    if not isinstance(fields, dict) or not isinstance(fields.get("dtype"), str):
        raise broken
    shape, offsets = fields.get("shape"), fields.get("data_offsets")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise broken
    begin, end = offsets
    if start + end > size:
        raise ModelError(
            f"{path} is cut short: tensor {name!r} ends {start + end - size} bytes past its end; copy again"
        )
    width = WIDTHS.get(fields["dtype"])
    if width is not None and math.prod(shape) * width != end - begin:
        raise broken
    return Entry(path, fields["dtype"], tuple(shape), start + begin, end - begin)


def _naturals(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def read_tensor(name: str, entry: Entry) -> np.ndarray:
    """The tensor as a float32 array of `entry.shape`.

    Errors: ModelError when it is stored in a type without a plain float reading, or holds a NaN or an infinity.
    """
    try:
        import numpy as np
    except ImportError as error:
        raise MissingExtra("engine", "numpy") from error

    if entry.dtype not in READABLE:
        raise ModelError(f"tensor {name!r} is stored as {entry.dtype!r}: save the model as F32, F16 or BF16 first")
    stored = np.dtype(READABLE[entry.dtype])
    try:
        raw = np.fromfile(entry.file, dtype=stored, count=entry.size // stored.itemsize, offset=entry.offset)
    except OSError as error:
        raise ModelError(f"{entry.file} cannot be read ({error}): check the disk") from error
    if raw.size * stored.itemsize != entry.size:
        raise ModelError(f"{entry.file} is cut short at tensor {name!r}: copy the file again")
    if entry.dtype == "BF16":  # a bfloat16 is the upper half of a float32
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    values = raw.astype(np.float32, copy=False).reshape(entry.shape)
    if not np.isfinite(values).all():
        raise ModelError(
            f"tensor {name!r} of {entry.file} holds NaN or infinity: the training run diverged; use another"
        )
    return values


def write_tensors(path: Path, forms: Mapping[str, tuple[int, ...]], arrays: Iterable[np.ndarray], dtype: str) -> None:
    """Write float32 `arrays`, in the order of `forms`, as the file `path` in `dtype` (F32 or BF16), one at a time."""
    import numpy as np

    width, at, header = WIDTHS[dtype], 0, {}
    for name, form in forms.items():
        size = math.prod(form) * width
        header[name] = {"dtype": dtype, "shape": list(form), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for (name, form), array in zip(forms.items(), arrays, strict=True):
            if array.shape != form:
                raise ModelError(
                    f"tensor {name!r} was made as {list(array.shape)}, not {list(form)}: this is a mistake"
                )
            values = np.ascontiguousarray(array, dtype="<f4")
            file.write((values if dtype == "F32" else bf16_codes(values)).tobytes())
