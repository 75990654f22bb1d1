"""Whether two answers say the same, as far as can be told without a model."""

from __future__ import annotations

from trimtab.levers.cache.kept import Kept, plain


def compared(fresh: Kept, held: Kept | None) -> bool | None:
    """True where both call the same tools with the same arguments and say the same words, case and points aside."""
    if held is None:
        return None
    if fresh.calls or held.calls:
        return sorted(fresh.calls) == sorted(held.calls)
    return plain(fresh.text) == plain(held.text)
