"""Virtual keys: what one allows, and how its secret is made and hashed. Knows no database.

A secret is shown once, when it is made; only its SHA-256 is kept. It holds 256 random bits, so a fast hash is enough.
"""

from __future__ import annotations

import enum
import hashlib
import secrets

import msgspec

PREFIX = "tt-"


class State(enum.StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One virtual key without its secret. A limit of None does not limit; no `models` means all of them.

    `models` are names that clients ask for; one that ends in `*` is a prefix. Money in nano-dollars; times are Unix ns.
    """

    name: str
    id: int = 0
    tenant: str = ""
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    day_nanodollars: int | None = None
    month_nanodollars: int | None = None
    run_nanodollars: int | None = None
    created_ns: int = 0
    expires_ns: int | None = None
    revoked_ns: int | None = None

    def allows(self, model: str) -> bool:
        """Whether a client with this key may ask for `model`."""
        return not self.models or any(
            model.startswith(held[:-1]) if held.endswith("*") else model == held for held in self.models
        )

    @property
    def budgeted(self) -> bool:
        """Whether any sum of money limits it."""
        return (
            self.day_nanodollars is not None or self.month_nanodollars is not None or self.run_nanodollars is not None
        )

    @property
    def rated(self) -> bool:
        """Whether any rate limits it."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    def state(self, now_ns: int) -> State:
        if self.revoked_ns is not None:
            return State.REVOKED
        expired = self.expires_ns is not None and self.expires_ns <= now_ns
        return State.EXPIRED if expired else State.ACTIVE


def mint() -> str:
    """A new secret: the public prefix, then 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
