"""Usage as logs count it, each count a field of its own, in the shape of a provider's usage object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trimtab.errors import FormatError


def number_of(held: Mapping[str, Any], *names: str) -> float | None:
    """The first of the fields that holds a finite number, also one written as a text."""
    for name in names:
        value = held.get(name)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                continue
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return value
    return None


def raw_usage(
    asked: float | None,
    answered: float | None,
    *,
    read: float | None = None,
    written: float | None = None,
    reasoning: float | None = None,
) -> dict[str, Any] | None:
    """A usage object with these counts; None where neither the input's nor the output's is given. FormatError where
    one is negative."""
    counts = (asked, answered, read, written, reasoning)
    if any(count is not None and count < 0 for count in counts):
        raise FormatError("a negative count of tokens")
    if asked is None and answered is None:
        return None
    made: dict[str, Any] = {"prompt_tokens": int(asked or 0), "completion_tokens": int(answered or 0)}
    if read or written:
        made["prompt_tokens_details"] = {"cached_tokens": int(read or 0), "cache_write_tokens": int(written or 0)}
    if reasoning:
        made["completion_tokens_details"] = {"reasoning_tokens": int(reasoning)}
    return made
