"""The kinds of logs that are read, and which of them a file is, by the names at the top of its first object."""

from __future__ import annotations

import re

import msgspec

from trimtab.store.formats import anthropic, helicone, langfuse, lengths, litellm, openai, otlp, phoenix, tau_bench
from trimtab.store.formats.reading import Format

# In the order in which they are asked: the first that knows the names has the file.
_ALL = (
    *(tau_bench.FORMAT, lengths.AZURE, lengths.MOONCAKE, otlp.FORMAT, litellm.FORMAT, helicone.FORMAT),
    *(phoenix.FORMAT, langfuse.FORMAT, anthropic.FORMAT, openai.FORMAT),
)
BY_NAME = {one.name: one for one in _ALL}

_TOP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
# What holds the objects of a page that an interface answered with.
WRAPPERS = ("data", "observations", "items")
_WRAPPED = tuple(b'"%s"' % name.encode() for name in WRAPPERS)
_NAME = re.compile(rb'"([\w.]{1,80})"\s*:')


def told(names: frozenset[str]) -> Format | None:
    """The format of a file whose first object, or first row, has these names; None where it is none of them."""
    return next((one for one in _ALL if one.has(names)), None)


def names_in(text: bytes) -> frozenset[str]:
    """The names at the top of the object `text`, and of the first one it wraps; of one that is cut off, all names."""
    try:
        held = _TOP.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return frozenset(name.decode() for name in _NAME.findall(text))
    names = set(held)
    for wrapper in WRAPPERS:
        if bytes(held.get(wrapper) or b"")[:1] == b"[" and (items := _ITEMS.decode(held[wrapper])):
            names |= names_in(bytes(items[0])) if bytes(items[0])[:1] == b"{" else set()
    return frozenset(names)


def may_wrap(text: bytes) -> bool:
    """Whether a wrapper's name is in it: quickly told, for nearly no text is a page."""
    return text[:1] == b"{" and any(name in text for name in _WRAPPED)


def unwrapped(text: bytes) -> list[bytes] | None:
    """The objects that `text` wraps, where it is a page of them and no call itself; None where it is not."""
    try:
        held = _TOP.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    for wrapper in WRAPPERS:
        if bytes(held.get(wrapper) or b"")[:1] == b"[":
            return [bytes(item) for item in _ITEMS.decode(held[wrapper])]
    return None
