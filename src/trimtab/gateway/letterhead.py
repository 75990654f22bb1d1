"""Letterhead: a request's headers, and what was read of them. Clients send the same ones again and again.

Knows no header by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Read = TypeVar("Read")
Pairs = Iterable[tuple[bytes, bytes]]


class Letterhead(tuple[tuple[bytes, bytes], ...]):
    """(name in lower case, value) in their order. Equal ones are one object for as long as a client repeats them."""

    def __init__(self, _pairs: Pairs = ()) -> None:
        self._known: dict[Any, Any] = {}


def once(read: Callable[[Pairs], Read], headers: Pairs) -> Read:
    """`read(headers)`, which must depend on nothing else: of a Letterhead it is found out once."""
    if type(headers) is not Letterhead:
        return read(headers)
    known = headers._known
    if read not in known:
        known[read] = read(headers)
    found: Read = known[read]
    return found
