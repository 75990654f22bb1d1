"""Headers from one leg to the next: what goes on to the model server, what comes back, and who holds which key."""

from __future__ import annotations

import re
from collections.abc import Iterable

from multidict import CIMultiDict

from trimtab.endpoint import Endpoint
from trimtab.gateway.attribution import OWN_PREFIX
from trimtab.gateway.disclosure import KEYS, Strike, key_of

# Headers that belong to one connection, or that this gateway writes itself.
_OWN_LEG = frozenset(
    b"host connection keep-alive proxy-connection transfer-encoding te trailer upgrade content-length expect "
    b"accept-encoding traceparent proxy-authorization".split()
)
# What a client may call its key for the model server; a cookie is not one.
_NAMES_OF_KEY = KEYS - {b"cookie"}
_NOT_RETURNED = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding trailer upgrade content-length content-encoding "
    b"server proxy-authenticate".split()
)
# Headers that only a server of one dialect understands.
_OF_A_DIALECT = (b"anthropic-", b"openai-")
_VERSION = "2023-06-01"
# The client library lets control characters through, which no header of ours may hold.
_UNSOUND = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

Headers = Iterable[tuple[bytes, bytes]]


def sent(headers: Headers, endpoint: Endpoint, traceparent: str) -> CIMultiDict[str]:
    """The client's headers without those of its own leg, ours and, where the endpoint has a key, the client's keys.

    A server of messages looks for its key in `x-api-key`, all others in `Authorization`.
    """
    dropped = _OWN_LEG | KEYS if endpoint.key_env else _OWN_LEG
    going = CIMultiDict(
        (name.decode("latin-1"), held.decode("latin-1"))
        for name, held in headers
        if name not in dropped and not name.startswith(OWN_PREFIX)
    )
    # Bytes that are read on the way must not be packed.
    going["Accept-Encoding"] = "identity"
    going["Traceparent"] = traceparent
    going.setdefault("Content-Type", "application/json")
    add_own(going, endpoint)
    return going


def add_own(headers: CIMultiDict[str], endpoint: Endpoint) -> None:
    """Put into `headers` the endpoint's key, where it has one, and what its dialect cannot do without."""
    if endpoint.key_env:
        name, lead = _key_header(endpoint)
        headers[name] = lead + key_of(endpoint)
    if endpoint.dialect == "messages":
        headers.setdefault("anthropic-version", _VERSION)


def crossed(headers: Headers, endpoint: Endpoint) -> tuple[tuple[bytes, bytes], ...]:
    """The client's headers for an endpoint of another dialect: its key where that looks for it, and without what only
    servers of the client's own dialect understand."""
    headers = tuple(headers)
    keys = [held.decode("latin-1") for name, held in headers if name in _NAMES_OF_KEY]
    kept = [pair for pair in headers if pair[0] not in _NAMES_OF_KEY and not pair[0].startswith(_OF_A_DIALECT)]
    if keys:
        name, lead = _key_header(endpoint)
        kept.append((name.lower().encode(), (lead + keys[0].removeprefix("Bearer ").strip()).encode("latin-1")))
    return tuple(kept)


def _key_header(endpoint: Endpoint) -> tuple[str, str]:
    """The header in which the endpoint looks for its key, and what stands before it there."""
    return ("x-api-key", "") if endpoint.dialect == "messages" else ("Authorization", "Bearer ")


def returned(headers: Headers, endpoint: Endpoint) -> tuple[tuple[bytes, bytes], ...]:
    """The model server's headers, lower-case, without those of its own leg and without its key."""
    strike = Strike(endpoint)
    return tuple(
        (name.lower(), strike(held))
        for name, held in headers
        if name.lower() not in _NOT_RETURNED and not _UNSOUND.search(held)
    )
