"""Train and validation: apart by session and by template family, so that what is validated was never worded before."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from trimtab.data.conversation import Conversation, Funnel

_VALUE = re.compile(r'"[^"]*"|\S*\d\S*|(?<=[a-z,;] )[A-Z][\w-]*(?: [A-Z][\w-]*)*')


def family(text: str) -> str:
    """A text with its values taken out: numbers, quotations, names inside a sentence."""
    return " ".join(_VALUE.sub("#", text).lower().split())


def parted(
    found: Sequence[Conversation], funnel: Funnel, share: float = 0.1, seed: int = 0
) -> tuple[list[Conversation], list[Conversation]]:
    """(train, validation). A session goes where the family of its first opening goes, whole: about `share` of the
    families are validated."""
    first: dict[str, str] = {}
    for each in found:
        first.setdefault(each.session, family(each.opening))
    train: list[Conversation] = []
    held: list[Conversation] = []
    for each in found:
        (held if _place(first[each.session], seed) < share else train).append(each)
    if not train:
        train, held = held, []
    families = len(set(first.values()))
    funnel.note("split", len(found), len(train), {f"to validation, of {families:,} families": len(held)})
    return train, held


def _place(name: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode(errors="replace")).digest()[:7]) / 2**56
