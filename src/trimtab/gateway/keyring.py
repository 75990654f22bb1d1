"""The ring of virtual keys in the key database: made, found, changed, ended."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import ConfigError
from trimtab.gateway import keybell, keydb
from trimtab.gateway.keys import Key, digest, mint

_LIMITS = ("requests_per_minute", "tokens_per_minute", "day_nanodollars", "month_nanodollars", "run_nanodollars")
_FIELDS = ("id", "name", "tenant", "models", *_LIMITS, "created_ns", "expires_ns", "revoked_ns")
_COLUMNS = ", ".join(f"k.{field}" for field in _FIELDS)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
# Above any real limit, and far enough below 2^63 that sums fit.
_MOST = 10**15


def _check(key: Key) -> None:
    for what in (key.name, key.tenant or key.name):
        if not _NAME.fullmatch(what):
            raise ConfigError(f"'{what}' is no name for a key or tenant: use up to 64 letters, digits and . _ @ -")
    for field in _LIMITS:
        limit = getattr(key, field)
        if limit is not None and not 0 < limit <= _MOST:
            raise ConfigError(f"{field} of key '{key.name}' is {limit}: give 1 to 10^15, or leave it out")


def find(connection: sqlite3.Connection, hashed: bytes) -> Key | None:
    """The key whose secret has this hash, in any state; None where there is none. A rotated secret ends with its
    grace."""
    statement = f"SELECT s.expires_ns, {_COLUMNS} FROM secrets s JOIN keys k ON k.id = s.key WHERE s.digest = ?"
    row = connection.execute(statement, (hashed,)).fetchone()
    if row is None:
        return None
    key = _key(row[1:])
    ends = [end for end in (row[0], key.expires_ns) if end is not None]
    return msgspec.structs.replace(key, expires_ns=min(ends)) if row[0] is not None else key


def _key(row: tuple[object, ...]) -> Key:
    fields = dict(zip(_FIELDS, row, strict=True))
    fields["models"] = tuple(msgspec.json.decode(str(fields["models"])))
    return Key(**fields)  # type: ignore[arg-type]


class Ring:
    """The keys of a store's folder. Each method is one transaction; a running gateway obeys from its next request."""

    def __init__(self, folder: Path, clock: Callable[[], int] = time.time_ns) -> None:
        self.folder = folder
        self.clock = clock

    def create(self, key: Key) -> str:
        """Keep `key` under its name and return its secret, which cannot be had again. ConfigError for a taken name."""
        _check(key)
        secret = mint()
        made_now = msgspec.structs.replace(key, created_ns=self.clock())
        row = [_cell(made_now, field) for field in _FIELDS[1:]]
        marks = ", ".join("?" * len(row))
        with self._change() as connection:
            if connection.execute("SELECT 1 FROM keys WHERE name = ?", (key.name,)).fetchone():
                raise ConfigError(f"there is a key '{key.name}' already: choose another name, or rotate that one")
            made = connection.execute(f"INSERT INTO keys ({', '.join(_FIELDS[1:])}) VALUES ({marks})", row)
            connection.execute("INSERT INTO secrets VALUES (?, ?, NULL)", (digest(secret), made.lastrowid))
        return secret

    def get(self, name: str) -> Key:
        """The key called `name`; ConfigError where there is none."""
        with self._open() as connection:
            return _get(connection, name)

    def all(self) -> list[Key]:
        """Every key, revoked ones too, by name."""
        if not keydb.path_of(self.folder).exists():
            return []
        with self._open() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM keys k ORDER BY name").fetchall()
        return [_key(row) for row in rows]

    def limit(self, name: str, **limits: Any) -> Key:
        """Change the `limits` that are named, `models` among them; calls under way keep what they reserved."""
        return self._set(name, **limits)

    def rotate(self, name: str, grace_s: int = 0) -> str:
        """A new secret for the key; the old one works for `grace_s` seconds more. What was spent stays counted."""
        secret, ends = mint(), self.clock() + grace_s * 10**9
        with self._change() as connection:
            key = _get(connection, name)
            _refuse_revoked(key)
            connection.execute(
                "UPDATE secrets SET expires_ns = MIN(?, IFNULL(expires_ns, ?)) WHERE key = ?", (ends, ends, key.id)
            )
            connection.execute("INSERT INTO secrets VALUES (?, ?, NULL)", (digest(secret), key.id))
        return secret

    def expire(self, name: str, at_ns: int | None) -> Key:
        """Let the key end at `at_ns`, or never for None."""
        return self._set(name, expires_ns=at_ns)

    def revoke(self, name: str) -> Key:
        """End the key for good. Its name stays taken, because its calls are recorded under it."""
        return self._set(name, revoked_ns=self.clock())

    def _set(self, name: str, **fields: Any) -> Key:
        with self._change() as connection:
            key = _get(connection, name)
            _refuse_revoked(key)
            changed = msgspec.structs.replace(key, **fields)
            _check(changed)
            for field in fields:
                connection.execute(f"UPDATE keys SET {field} = ? WHERE id = ?", (_cell(changed, field), key.id))
        return changed

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._open() as connection, keydb.transaction(connection):
            yield connection
            connection.execute("UPDATE changes SET number = number + 1")
        keybell.ring(self.folder)

    def _open(self) -> closing[sqlite3.Connection]:
        return closing(keydb.connect(self.folder, wait_s=10.0, durable=True))


def _cell(key: Key, field: str) -> Any:
    held = getattr(key, field)
    return msgspec.json.encode(held).decode() if field == "models" else held


def _get(connection: sqlite3.Connection, name: str) -> Key:
    row = connection.execute(f"SELECT {_COLUMNS} FROM keys k WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise ConfigError(f"there is no key '{name}': see `trimtab keys list`")
    return _key(row)


def _refuse_revoked(key: Key) -> None:
    if key.revoked_ns is not None:
        raise ConfigError(f"key '{key.name}' is revoked, and that is final: create a new one")
