"""Errands: what a command leaves in the store's folder for the process that has the store open to do.

One errand at a time; three files in the folder: asked, taken, done. A gateway that dies half-way takes it up again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from trimtab.errors import StoreBusy, StoreError
from trimtab.store import schema
from trimtab.store.erase import EraseReport, Erasure, erase
from trimtab.store.reprice import Pricing, Progress, RepriceReport, reprice
from trimtab.store.spill import Spill
from trimtab.store.writer import TraceWriter

_ASKED, _TAKEN, _DONE = "errand.asked", "errand.taken", "errand.done"
# A gateway looks once a second, and after each batch of records.
PATIENCE_S = 20.0
_POLL_S = 0.2


class Repricing(msgspec.Struct, frozen=True):
    """What `reprice` takes."""

    pricing: Pricing
    since_ns: int | None = None


class _Errand(msgspec.Struct, frozen=True):
    """One of the two is given."""

    id: str
    erase: Erasure | None = None
    reprice: Repricing | None = None


class _Answer(msgspec.Struct, frozen=True):
    id: str
    erased: EraseReport | None = None
    repriced: RepriceReport | None = None
    error: str = ""


_Left = TypeVar("_Left", _Errand, _Answer)


def erased(folder: Path, wanted: Erasure) -> EraseReport:
    """Erase from `folder`: by this process, or by the gateway that has the store open.

    Raises StoreBusy where another process has it and does not take the errand within PATIENCE_S; StoreError with what
    the gateway said where it could not do it.
    """
    errand = _Errand(secrets.token_hex(8), erase=wanted)
    return _entrusted(folder, errand, None).erased or EraseReport()


def repriced(folder: Path, wanted: Repricing, progress: Progress | None = None) -> RepriceReport:
    """Price the calls in `folder` anew, by whom and with what errors as `erased`; `progress` is of this process."""
    errand = _Errand(secrets.token_hex(8), reprice=wanted)
    return _entrusted(folder, errand, progress).repriced or RepriceReport(wanted.pricing.table.version)


def _entrusted(folder: Path, errand: _Errand, progress: Progress | None) -> _Answer:
    busy = None
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            with TraceWriter(folder) as writer:
                answer = _done(errand, writer, None, progress)
                _forget(folder, errand)
                return answer
        except StoreBusy as error:
            if busy is None:
                _leave(folder, errand)
            busy = error
        time.sleep(_POLL_S)
        left = _read(folder / _DONE, _Answer)
        if left is not None and left.id == errand.id:
            (folder / _DONE).unlink(missing_ok=True)
            if left.error:
                raise StoreError(left.error)
            return left
        if time.monotonic() > give_up and _forget(folder, errand):
            raise busy


def _done(errand: _Errand, writer: TraceWriter, spill: Spill | None, progress: Progress | None = None) -> _Answer:
    if errand.erase is not None:
        return _Answer(errand.id, erased=erase(writer, errand.erase, spill))
    wanted = errand.reprice
    if wanted is None:
        return _Answer(errand.id, error="an errand that asks for nothing")
    return _Answer(errand.id, repriced=reprice(writer, wanted.pricing, since_ns=wanted.since_ns, progress=progress))


class ServingWriter(TraceWriter):
    """The gateway's writer, with the spill beside it; its housekeeping carries out errands too."""

    def __init__(
        self, folder: Path, *, keep_days: int = 0, spill_bytes: int = 0, redact_personal: bool = False
    ) -> None:
        super().__init__(folder, keep_days=keep_days, redact_personal=redact_personal)
        self.spill = Spill(folder, spill_bytes, redact_personal=redact_personal)

    def housekeep(self) -> None:
        super().housekeep()
        asked, taken = self.folder / _ASKED, self.folder / _TAKEN
        if not taken.exists():
            if not asked.exists():
                return
            with contextlib.suppress(FileNotFoundError):
                asked.rename(taken)
        errand = _read(taken, _Errand)
        if errand is not None:
            _write(self.folder / _DONE, self._answer(errand))
        taken.unlink(missing_ok=True)

    def _answer(self, errand: _Errand) -> _Answer:
        try:
            return _done(errand, self, self.spill)
        except StoreError as error:
            return _Answer(errand.id, error=str(error))


def _leave(folder: Path, errand: _Errand) -> None:
    try:
        if (folder / _ASKED).exists() or (folder / _TAKEN).exists():
            raise StoreBusy(
                f"an erasure or a re-pricing of {folder} is under way: wait for its end, and run this again"
            )
        (folder / _DONE).unlink(missing_ok=True)
        _write(folder / _ASKED, errand)
    except OSError as error:
        raise schema.refusal(error, folder) from error


def _forget(folder: Path, errand: _Errand) -> bool:
    """Take back an errand that nobody has taken; False where it is gone from its place."""
    path = folder / _ASKED
    left = _read(path, _Errand)
    if left is None or left.id != errand.id:
        return False
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _write(path: Path, value: _Errand | _Answer) -> None:
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(value))
    part.replace(path)


def _read(path: Path, kind: type[_Left]) -> _Left | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
