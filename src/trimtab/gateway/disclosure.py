"""Disclosure: keeps keys out of what is answered, logged and recorded. Knows which are keys; strikes them out by value.

Bodies on their way to the store are searched for secrets by pattern as well (`store.redaction`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable

from trimtab.endpoint import Endpoint

# Headers that carry the client's own keys.
KEYS = frozenset((b"authorization", b"x-api-key", b"api-key", b"cookie"))
# A shorter one could be any word of an answer.
_SHORTEST = 8
_STRUCK = "***"


def key_of(endpoint: Endpoint | None) -> str:
    """The endpoint's key, out of the environment; '' where it has none."""
    return os.environ.get(endpoint.key_env, "") if endpoint is not None and endpoint.key_env else ""


def keys_in(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The client's own keys, each with and without the word for its kind (`Bearer`) or the cookie's name before it."""
    held = [value.decode("latin-1").strip() for name, value in headers if name in KEYS]
    words = [word.strip(";") for text in held for word in text.split()]
    return held + words + [word.partition("=")[2] for word in words]


def struck(text: str, keys: Iterable[str]) -> str:
    """`text` without the `keys`."""
    for key in keys:
        if len(key) >= _SHORTEST and key in text:
            text = text.replace(key, _STRUCK)
    return text


class Strike:
    """Strikes one endpoint's `key` (empty: none) out of what that endpoint sends: whoever has a gateway's key was
    not given it here."""

    def __init__(self, endpoint: Endpoint) -> None:
        key = key_of(endpoint).encode()
        self.key = key if len(key) >= _SHORTEST else b""

    def __call__(self, data: bytes) -> bytes:
        return data.replace(self.key, _STRUCK.encode()) if self.key and self.key in data else data


class LogFilter(logging.Filter):
    """Strikes the keys of the endpoints out of each line of the log, tracebacks too."""

    def __init__(self, endpoints: Callable[[], Iterable[Endpoint]]) -> None:
        super().__init__()
        self._endpoints = endpoints

    def filter(self, record: logging.LogRecord) -> bool:
        keys = [key_of(endpoint) for endpoint in self._endpoints()]
        record.msg, record.args = struck(record.getMessage(), keys), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = struck(logging.Formatter().formatException(record.exc_info), keys)
        return True
