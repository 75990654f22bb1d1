"""Prometheus' text format: labels, and the lines of a histogram."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

Labels = tuple[tuple[str, str], ...]


class Counted(Protocol):
    """A histogram's counts, the last one beyond all `bounds`, and the sum of what was observed."""

    @property
    def bounds(self) -> Sequence[float]: ...

    @property
    def counts(self) -> Sequence[int]: ...

    @property
    def total(self) -> float: ...


def bucket_lines(name: str, labels: Labels, counted: Counted) -> Iterator[str]:
    below = 0
    for bound, count in zip((*(f"{bound:.12g}" for bound in counted.bounds), "+Inf"), counted.counts, strict=True):
        below += count
        yield f"{name}_bucket{braces((*labels, ('le', bound)))} {below}"
    yield f"{name}_sum{braces(labels)} {counted.total:.9g}"
    yield f"{name}_count{braces(labels)} {below}"


def braces(labels: Labels) -> str:
    quoted = (f'{name}="{_escaped(held)}"' for name, held in labels)
    return "{" + ",".join(quoted) + "}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
