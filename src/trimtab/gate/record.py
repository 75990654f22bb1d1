"""Record: puts a run's verdict into the ledger, once, and its report beside the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from trimtab.errors import StoreError
from trimtab.gate import recompute
from trimtab.store.ledger import Ledger
from trimtab.verdict import Verdict, canonical, digest


def keep(ledger: Ledger, verdict: Verdict) -> str:
    """The hash of the verdict's entry; a verdict that is there already is not written twice."""
    return kept(ledger, verdict) or ledger.append("verdict", msgspec.to_builtins(verdict))


def kept(ledger: Ledger, verdict: Verdict) -> str:
    """The hash of the entry that says the same, whenever it was made; empty where there is none."""
    wanted = _text(msgspec.to_builtins(verdict))
    return next((entry.hash for entry in reversed(ledger.entries("verdict")) if _text(entry.body) == wanted), "")


def _text(body: Mapping[str, object]) -> bytes:
    return canonical({name: held for name, held in body.items() if name != "made_at"})


def found(ledger: Ledger, start: str = "") -> tuple[str, Verdict]:
    """The entry whose hash begins with `start`, or the newest verdict: its hash and its verdict.

    StoreError where there is none; FormatError where the entry holds no verdict.
    """
    if start:
        entry = ledger.find(start)
        return entry.hash, recompute.verdict_of(entry)
    entries = ledger.entries("verdict")
    if not entries:
        raise StoreError(f"no verdicts in {ledger.folder}: make one with `trimtab gate run`")
    return entries[-1].hash, recompute.verdict_of(entries[-1])


def folder_of(store: Path, declared: object) -> Path:
    """Where a run lives when nobody named a folder: the same run has the same one, so that it goes on by itself."""
    return store / "gate" / digest(declared)[:16]
