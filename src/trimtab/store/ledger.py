"""Ledger: an append-only record of estimates, verdicts, rollout steps and savings, each entry chained to the last.

Knows no statistics: whether a verdict follows from its counts is checked by `gate.recompute`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from trimtab.errors import StoreError
from trimtab.store import schema
from trimtab.store.surroundings import surroundings

KINDS = ("estimate", "verdict", "rollout", "saving")
FILE, HEAD = "ledger.jsonl", "ledger.head"
FIRST = "0" * 64
# The hash is of the entry's own bytes, so a line is taken apart by place and not by a parser.
_LINE = re.compile(rb'\{"hash":"([0-9a-f]{64})","entry":(\{.*\})\}\n')
_HEAD = re.compile(r"(\d+) ([0-9a-f]{64}) (\d+)\n")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `previous` is the hash of the line before; `at` is UTC; `made` says on what machine, by which versions.
    `hash` is SHA-256 over `previous` and the bytes of the rest."""

    number: int
    previous: str
    at: str
    kind: str
    made: dict[str, str]
    body: dict[str, Any]
    hash: str = ""


class _End(msgspec.Struct, frozen=True):
    """Where the chain ends: entries, the last one's hash, bytes."""

    number: int
    hash: str
    size: int


class Ledger:
    """The chain in `folder`/ledger.jsonl, one JSON object a line. Safe with several processes.

    `ledger.head` holds the number and hash of the last acknowledged entry, so that lines taken off the end are
    missed. Whoever may write both files can forge the whole; against that, keep a hash elsewhere, as reports do.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE

    def append(self, kind: str, body: dict[str, Any]) -> str:
        """Add an entry and give its hash once it is on the disk. StoreError for an unknown kind, a body that JSON
        cannot hold as it is, or a ledger whose end was tampered with."""
        if kind not in KINDS:
            raise StoreError(f"the ledger keeps no '{kind}': use one of {', '.join(KINDS)}")
        held = _plain(body, kind)
        with self._locked() as file:
            end = self._end(file)
            entry = {
                "number": end.number + 1,
                "previous": end.hash,
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "kind": kind,
                "made": surroundings(),
                "body": held,
            }
            text = msgspec.json.encode(entry, order="sorted")
            name = _hash(end.hash, text)
            line = b'{"hash":"%s","entry":%s}\n' % (name.encode(), text)
            file.seek(end.size)
            file.truncate()
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
            self._write_head(_End(end.number + 1, name, end.size + len(line)))
        return name

    def entries(self, kind: str = "") -> list[Entry]:
        """All entries in order, of one `kind` if given; the chain is checked on the way. StoreError as `verify`."""
        try:
            with self.path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                found, size = self._chain(file)
                self._against_head(found, size)
        except FileNotFoundError:
            if (self.folder / HEAD).exists():
                raise StoreError(
                    f"{self.path} is gone, but {HEAD} says that it was there: bring it back from a copy"
                ) from None
            return []
        except OSError as error:
            raise schema.refusal(error, self.path) from error
        return [entry for entry in found if kind in ("", entry.kind)]

    def verify(self) -> int:
        """The number of entries, after every byte was checked; StoreError that names the first line at fault."""
        return len(self.entries())

    def find(self, start: str) -> Entry:
        """The entry whose hash begins with `start`; StoreError for none or several."""
        found = [entry for entry in self.entries() if entry.hash.startswith(start)]
        if len(found) != 1:
            raise StoreError(f"{len(found)} entries of {self.path} begin with '{start}': see `trimtab ledger list`")
        return found[0]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file
        except OSError as error:
            raise schema.refusal(error, self.path) from error

    def _end(self, file: IO[bytes]) -> _End:
        """Where to append. A line that a crash cut short was never acknowledged: it is overwritten."""
        head = self._head()
        size = os.fstat(file.fileno()).st_size
        if head is not None and head.size == size:
            return head
        found, whole = self._chain(file)
        self._against_head(found, whole)
        return _End(len(found), found[-1].hash if found else FIRST, whole)

    def _chain(self, file: IO[bytes]) -> tuple[list[Entry], int]:
        """The entries and the bytes they take; a last line without its end is left out."""
        found: list[Entry] = []
        last, size = FIRST, 0
        file.seek(0)
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            entry = self._read(line, number, last)
            last, size = entry.hash, size + len(line)
            found.append(entry)
        return found, size

    def _read(self, line: bytes, number: int, previous: str) -> Entry:
        match = _LINE.fullmatch(line)
        if match is None or match[1].decode() != _hash(previous, match[2]):
            raise StoreError(f"{self.path}:{number}: this line was altered: bring the file back from a copy")
        try:
            entry = msgspec.json.decode(match[2], type=Entry)
        except msgspec.MsgspecError as error:
            raise StoreError(f"{self.path}:{number}: no entry of a ledger: {error}") from error
        if (entry.number, entry.previous) != (number, previous):
            raise StoreError(f"{self.path}:{number}: this line stands in the wrong place: bring back a copy")
        return msgspec.structs.replace(entry, hash=match[1].decode())

    def _against_head(self, found: list[Entry], size: int) -> None:
        """A head that is behind is one that a crash kept from being written; one that is ahead is a loss."""
        head = self._head()
        if head is None:
            if found:
                raise StoreError(f"{self.folder / HEAD} is gone: bring both files back from a copy")
            return
        there = found[head.number - 1].hash if 0 < head.number <= len(found) else FIRST
        if head.number > len(found) or there != head.hash or head.size > size:
            raise StoreError(
                f"{self.path} ends after {len(found)} entries, not as {HEAD} says ({head.number}, {head.hash[:12]}): "
                "lines were taken off; bring both files back from a copy"
            )
        if head.number == len(found) and head.size != size:
            raise StoreError(f"{self.folder / HEAD} was altered: bring both files back from a copy")

    def _head(self) -> _End | None:
        path = self.folder / HEAD
        try:
            text = path.read_bytes().decode("latin-1")
        except FileNotFoundError:
            return None
        match = _HEAD.fullmatch(text)
        if match is None:
            raise StoreError(f"{path} was altered: bring both files back from a copy")
        return _End(int(match[1]), match[2], int(match[3]))

    def _write_head(self, end: _End) -> None:
        path = self.folder / HEAD
        new = path.with_suffix(".new")
        with new.open("w") as file:
            file.write(f"{end.number} {end.hash} {end.size}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


def _hash(previous: str, text: bytes) -> str:
    return hashlib.sha256(previous.encode() + text).hexdigest()


def _plain(body: Any, kind: str) -> Any:
    """The body as JSON holds it. It has no infinity and no NaN: they would come back as null, and nothing could be
    recomputed from that."""
    try:
        held = msgspec.to_builtins(body, str_keys=True)
        json.dumps(held, allow_nan=False)
        return msgspec.json.decode(msgspec.json.encode(held))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StoreError(f"this {kind} cannot be written as JSON: {error}") from error
