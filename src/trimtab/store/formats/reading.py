"""Reading: what the readers of one source share, and the report of it. Knows no format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from trimtab.errors import FormatError
from trimtab.money import Price, PriceTable, Usage, nanodollars
from trimtab.store.redaction import masked
from trimtab.trace import Record, Score

_SAMPLES = 5
_LONGEST_SAMPLE = 300

# A call and the scores that came with it; they are its trace's.
Taken = tuple[Record, tuple[Score, ...]]


class ImportReport(msgspec.Struct):
    """What a reading found, in calls; `bad` counts lines, rows, trajectories or whole files that could not be read.

    `read` = new + known; `known` are calls whose id was there before, in the store or earlier in what was read.
    `remarks` counts what else was noticed, by its kind (a call that ends before it starts, spans that are no calls).
    `samples` are the first reasons of what was bad, with where; secrets and structured personal data are masked in
    them.
    """

    read: int = 0
    new: int = 0
    known: int = 0
    bad: int = 0
    samples: list[str] = []
    remarks: dict[str, int] = {}

    def refuse(self, where: str, reason: object) -> None:
        self.bad += 1
        if len(self.samples) < _SAMPLES:
            text = " ".join(str(reason).split())
            self.samples.append(f"{where}: {masked(text)[:_LONGEST_SAMPLE]}")

    def remark(self, reason: str) -> None:
        self.remarks[reason] = self.remarks.get(reason, 0) + 1


class Piece(NamedTuple):
    """One line, row or object of a file: where it stands, its JSON text, and how far into the file it ends.

    `error` says why it could not be taken from the file; then there is no text.
    """

    where: str
    number: int
    text: bytes
    position: int
    error: str = ""


class Reading:
    """One source's prices and report; `stem` is the name of the file now read, without its ends."""

    def __init__(self, prices: PriceTable, report: ImportReport, stem: str = "") -> None:
        self.prices = prices
        self.report = report
        self.stem = stem
        self._found: dict[str, Price | None] = {}

    def cost(self, models: tuple[str, ...], usage: Usage) -> tuple[int | None, str]:
        """Nano-dollars and the name that was priced, by the first of `models` with a known price; else None and ''."""
        for model in models:
            try:
                price = self._found[model]
            except KeyError:
                # A file of as many names as calls must not fill the memory.
                if len(self._found) > 10_000:
                    self._found.clear()
                price = self._found[model] = self.prices.find(model)
            if price is not None:
                return nanodollars(price, usage), model
        return None, ""


# Takes one piece's text and number; FormatError says what is wrong with it.
Reader = Callable[[bytes, int], list[Taken]]


class Format(NamedTuple):
    """One kind of log: its name, whether these names at the top of its first object (or CSV header) are its own, and
    what reads its pieces."""

    name: str
    has: Callable[[frozenset[str]], bool]
    reader: Callable[[Reading], Reader]


def taken(piece: Piece, reader: Reader, report: ImportReport) -> Iterator[Taken]:
    """The calls of one piece; what is wrong with it is counted."""
    if piece.error:
        report.refuse(piece.where, piece.error)
        return
    try:
        yield from reader(piece.text, piece.number)
    except FormatError as error:
        report.refuse(piece.where, error)
    except msgspec.MsgspecError as error:
        report.refuse(piece.where, f"not readable: {error}")
    except RecursionError:
        report.refuse(piece.where, "nested too deeply")
    except (UnicodeError, OverflowError, ValueError) as error:
        report.refuse(piece.where, f"not readable: {error}")
