"""Headers from one leg to the next: what goes on to the model server, what comes back, and who holds which key."""

from __future__ import annotations

import os
from collections.abc import Iterable

from multidict import CIMultiDict

from trimtab.endpoint import Endpoint
from trimtab.gateway.attribution import OWN_PREFIX

# Headers that belong to one connection, or that this gateway writes itself.
_OWN_LEG = frozenset(
    b"host connection keep-alive proxy-connection transfer-encoding te trailer upgrade content-length expect "
    b"accept-encoding traceparent proxy-authorization".split()
)
# Headers that carry the client's own keys.
KEYS = frozenset((b"authorization", b"x-api-key", b"api-key"))
_NOT_RETURNED = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding trailer upgrade content-length content-encoding "
    b"server proxy-authenticate".split()
)
# Headers that only a server of one dialect understands.
_OF_A_DIALECT = (b"anthropic-", b"openai-")
_VERSION = "2023-06-01"


def sent(
    headers: Iterable[tuple[bytes, bytes]], endpoint: Endpoint, traceparent: str, native: bool = True
) -> CIMultiDict[str]:
    """The client's headers without those of its own leg, ours and, where the endpoint has a key, the client's keys.

    A server of messages looks for its key in `x-api-key`, all others in `Authorization`; where the endpoint speaks
    another dialect than the client (not `native`), the client's own key is put where it is looked for.
    """
    dropped = _OWN_LEG | KEYS if endpoint.key_env else _OWN_LEG
    own = OWN_PREFIX if native else (OWN_PREFIX, *_OF_A_DIALECT)
    going = CIMultiDict(
        (name.decode("latin-1"), held.decode("latin-1"))
        for name, held in headers
        if name not in dropped and not name.startswith(own)
    )
    # Bytes that are read on the way must not be packed.
    going["Accept-Encoding"] = "identity"
    going["Traceparent"] = traceparent
    going.setdefault("Content-Type", "application/json")
    if endpoint.key_env:
        _put_key(going, endpoint, os.environ.get(endpoint.key_env, ""))
    elif not native and (key := going.pop("x-api-key", "") or _bearer(going.pop("Authorization", ""))):
        _put_key(going, endpoint, key)
    if endpoint.dialect == "messages":
        going.setdefault("anthropic-version", _VERSION)
    return going


def _put_key(going: CIMultiDict[str], endpoint: Endpoint, key: str) -> None:
    if endpoint.dialect == "messages":
        going["x-api-key"] = key
    else:
        going["Authorization"] = "Bearer " + key


def _bearer(header: str) -> str:
    scheme, _, key = header.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def returned(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """The model server's headers, lower-case, without those of its own leg."""
    return tuple((name.lower(), held) for name, held in headers if name.lower() not in _NOT_RETURNED)
