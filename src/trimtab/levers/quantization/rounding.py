"""Rounding one matrix so that its outputs on given inputs move least (GPTQ; Frantar et al. 2023, arXiv 2210.17323).

Columns are rounded one after the other, and what each lost is made up for by those that follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.engines.weights import Codes, Format, encode, grid, rounded

if TYPE_CHECKING:
    import numpy as np

BLOCK = 32  # columns whose changes are made up for at once; divides every group
DAMP = 0.01  # of the mean second moment, added to the diagonal
SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8)


def compensated(values: np.ndarray, second: np.ndarray | None, form: Format) -> Codes:
    """`values` [rows, columns] in `form`; `second` is the sum of x x^T over its inputs, None: rounded to nearest."""
    if second is None:
        return encode(values, form)
    import numpy as np

    columns = values.shape[1]
    upper = _factor(second, columns)
    left = values.astype(np.float32)
    weight = np.maximum(np.diag(second), 1e-12).astype(np.float32)
    group = form.group or columns
    codes = np.empty(values.shape, np.int8 if form.symmetric else np.uint8)
    scales: list[np.ndarray] = []
    zeros: list[np.ndarray | None] = []
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        lost = np.empty((len(left), stop - start), np.float32)
        for column in range(start, stop):
            if column % group == 0:
                one, point = _grid(left[:, None, column : column + group], weight[column : column + group], form)
                scales.append(one)
                zeros.append(point)
            value = left[:, None, None, column]
            code = rounded(value, scales[-1], zeros[-1], form)
            codes[:, column] = code[:, 0, 0]
            error = (value - _plain(code, scales[-1], zeros[-1]))[:, 0, 0] / upper[column, column]
            left[:, column + 1 : stop] -= np.outer(error, upper[column, column + 1 : stop])
            lost[:, column - start] = error
        left[:, stop:] -= lost @ upper[start:stop, stop:]
    points = None if form.symmetric else np.concatenate([point for point in zeros if point is not None], axis=1)
    return Codes(codes.reshape(len(codes), -1, group), np.concatenate(scales, axis=1), points, form.bits)


def moved(values: np.ndarray, found: np.ndarray, second: np.ndarray) -> float:
    """How far outputs move: the sum of squared differences over the sum of squares, on the inputs of `second`."""
    import numpy as np

    change = found - values
    before = float(np.einsum("ij,jk,ik->", values, second, values, optimize=True))
    return float(np.einsum("ij,jk,ik->", change, second, change, optimize=True)) / max(before, 1e-30)


def _factor(second: np.ndarray, columns: int) -> np.ndarray:
    """The upper Cholesky factor of the inverse of the damped second moments."""
    import numpy as np

    damped = second + np.eye(columns) * max(DAMP * float(np.diag(second).mean()), 1e-8)
    inverse = np.linalg.inv(damped)
    found: np.ndarray = np.linalg.cholesky((inverse + inverse.T) / 2).T.astype(np.float32)
    return found


def _grid(part: np.ndarray, weight: np.ndarray, form: Format) -> tuple[np.ndarray, np.ndarray | None]:
    """For each row the range, perhaps clipped, that loses least on the diagonal."""
    import numpy as np

    best: tuple[np.ndarray, np.ndarray | None] | None = None
    least = np.full((len(part), 1, 1), np.inf, np.float32)
    for shrink in SHRINKS if form.bits < 8 else SHRINKS[:1]:
        scales, zeros = grid(part, form, shrink)
        change = part - _plain(rounded(part, scales, zeros, form), scales, zeros)
        loss = (change**2 @ weight)[..., None]
        if best is None:
            best, least = (scales, zeros), loss
            continue
        better = loss < least
        least = np.where(better, loss, least)
        held = None if zeros is None or best[1] is None else np.where(better, zeros, best[1])
        best = np.where(better, scales, best[0]), held
    assert best is not None
    return best


def _plain(codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray | None) -> np.ndarray:
    import numpy as np

    shifted = codes.astype(np.float32) - (0 if zeros is None else zeros.astype(np.float32))
    found: np.ndarray = shifted * scales.astype(np.float32)
    return found
