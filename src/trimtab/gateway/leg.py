"""Headers from one leg to the next: what goes on to the model server, what comes back, and who holds which key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from trimtab.endpoint import Endpoint
from trimtab.gateway.attribution import OWN_PREFIX
from trimtab.gateway.disclosure import KEYS, Strike, key_of
from trimtab.gateway.letterhead import once
from trimtab.gateway.pool import Address

if TYPE_CHECKING:
    from trimtab.gateway.chain import Request

# Headers that belong to one connection, or that this gateway writes itself.
_OWN_LEG = frozenset(
    b"host connection keep-alive proxy-connection transfer-encoding te trailer upgrade content-length expect "
    b"accept-encoding traceparent proxy-authorization".split()
)
_DROPPED_WITH_KEYS = _OWN_LEG | KEYS
# What a client may call its key for the model server; a cookie is not one.
_NAMES_OF_KEY = KEYS - {b"cookie"}
_NOT_RETURNED = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding trailer upgrade content-length content-encoding "
    b"server proxy-authenticate".split()
)
# Headers that only a server of one dialect understands.
_OF_A_DIALECT = (b"anthropic-", b"openai-")
_VERSION = b"2023-06-01"
# What no header of ours may hold.
_UNSOUND = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

Headers = Iterable[tuple[bytes, bytes]]


def sent(headers: Headers, endpoint: Endpoint, traceparent: str) -> list[tuple[bytes, bytes]]:
    """The client's headers without those of its own leg, ours and, where the endpoint has a key, the client's keys.

    A server of messages looks for its key in `x-api-key`, all others in `Authorization`.
    """
    kept = once(_kept_without_keys if endpoint.key_env else _kept, headers)
    return [*kept.pairs, *_ours(endpoint, traceparent, kept.names)]


class _Kept(NamedTuple):
    """Headers that go on: as they are, by name, and as they are written."""

    pairs: list[tuple[bytes, bytes]]
    names: set[bytes]
    written: bytes


def _kept(headers: Headers, dropped: frozenset[bytes] = _OWN_LEG) -> _Kept:
    pairs = [pair for pair in headers if pair[0] not in dropped and not pair[0].startswith(OWN_PREFIX)]
    return _Kept(pairs, {name for name, _ in pairs}, _written(pairs))


def _kept_without_keys(headers: Headers) -> _Kept:
    return _kept(headers, _DROPPED_WITH_KEYS)


def _written(pairs: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % pair for pair in pairs])


def _ours(endpoint: Endpoint, traceparent: str, given: set[bytes]) -> list[tuple[bytes, bytes]]:
    """What the gateway says itself, beside the client's headers of the names `given`."""
    # Bytes that are read on the way must not be packed.
    pairs = [(b"accept-encoding", b"identity"), (b"traceparent", traceparent.encode())]
    if b"content-type" not in given:
        pairs.append((b"content-type", b"application/json"))
    if endpoint.key_env or endpoint.dialect == "messages":
        pairs += [pair for pair in own(endpoint) if pair[0] not in given]
    return pairs


def own(endpoint: Endpoint) -> list[tuple[bytes, bytes]]:
    """The endpoint's key, where it has one, and what its dialect cannot do without."""
    pairs: list[tuple[bytes, bytes]] = []
    if endpoint.key_env:
        name, lead = _key_header(endpoint)
        pairs.append((name, lead + key_of(endpoint).encode()))
    if endpoint.dialect == "messages":
        pairs.append((b"anthropic-version", _VERSION))
    return pairs


def head(address: Address, request: Request, length: int) -> bytes:
    """The bytes of `request` with a body of `length` bytes, up to the empty line; headers as `sent` gives them."""
    endpoint = request.endpoint
    target = address.path + request.dialect.path.removeprefix("/v1").encode()
    if request.query:
        target += b"?" + request.query.encode("latin-1")
    kept = once(_kept_without_keys if endpoint.key_env else _kept, request.headers)
    ours = _written(_ours(endpoint, request.who.traceparent, kept.names))
    first = b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-length: %d" % (target, address.host_header, length)
    return b"%b\r\n%b%b\r\n" % (first, kept.written, ours)


def crossed(headers: Headers, endpoint: Endpoint) -> tuple[tuple[bytes, bytes], ...]:
    """The client's headers for an endpoint of another dialect: its key where that looks for it, and without what only
    servers of the client's own dialect understand."""
    headers = tuple(headers)
    keys = [held.decode("latin-1") for name, held in headers if name in _NAMES_OF_KEY]
    kept = [pair for pair in headers if pair[0] not in _NAMES_OF_KEY and not pair[0].startswith(_OF_A_DIALECT)]
    if keys:
        name, lead = _key_header(endpoint)
        kept.append((name, lead + keys[0].removeprefix("Bearer ").strip().encode("latin-1")))
    return tuple(kept)


def _key_header(endpoint: Endpoint) -> tuple[bytes, bytes]:
    """The header in which the endpoint looks for its key, and what stands before it there."""
    return (b"x-api-key", b"") if endpoint.dialect == "messages" else (b"authorization", b"Bearer ")


def returned(headers: Headers, strike: Strike) -> tuple[tuple[bytes, bytes], ...]:
    """The model server's headers, lower-case, without those of its own leg and without the key that `strike` knows."""
    kept = [
        (lower, strike(held) if strike.key else held)
        for name, held in headers
        if (lower := name.lower()) not in _NOT_RETURNED and not _UNSOUND.search(held)
    ]
    return tuple(kept)
