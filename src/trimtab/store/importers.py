"""Files of calls into the store, a piece at a time: bad lines are counted and passed over, known calls left alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from trimtab.errors import FormatError
from trimtab.money import PriceTable
from trimtab.store import openai_jsonl, tau_bench
from trimtab.store.writer import TraceWriter
from trimtab.trace import Record, Score

FORMATS = ("auto", "openai", "tau-bench")
_CHUNK = 1 << 20
# No honest call is larger; a file without line ends or closing braces must not fill the memory.
_LARGEST = 64 << 20
_BATCH = 100
_SAMPLES = 5

# In JSON text: what opens or closes an object or a string, and what ends or escapes in a string.
_OUTSIDE = re.compile(rb'["{}]')
_INSIDE = re.compile(rb'["\\]')


class ImportReport(msgspec.Struct):
    """What an import did, in calls; `bad` counts lines or trajectories. `samples` are the first reasons, with where."""

    read: int = 0
    new: int = 0
    known: int = 0
    bad: int = 0
    samples: list[str] = []

    def refuse(self, where: str, reason: object) -> None:
        self.bad += 1
        if len(self.samples) < _SAMPLES:
            self.samples.append(f"{where}: {reason}")


Progress = Callable[[int], None]
# Where a piece stands in the file, its bytes, and how far into the file it ends.
_Piece = tuple[int, bytes, int]


def import_file(
    path: Path, writer: TraceWriter, prices: PriceTable, *, kind: str = "auto", progress: Progress | None = None
) -> ImportReport:
    """Write every call in `path` to the store; `progress` gets the bytes read so far.

    `kind` is one of FORMATS. Raises FormatError where the file cannot be opened, StoreError or DiskFull where it cannot
    be written; a bad line is never raised, only counted.
    """
    try:
        with path.open("rb") as file:
            kind = detect(file) if kind == "auto" else kind
            parsed = _trajectories(file, path.stem, prices) if kind == "tau-bench" else _lines(file, prices)
            return _write(parsed, writer, progress or (lambda _: None))
    except OSError as error:
        raise FormatError(f"cannot read {path}: {error.strerror or error}; name a file that is there") from error


def detect(file: BinaryIO) -> str:
    """'tau-bench' or 'openai', by the first bytes; the file is put back to its start."""
    head = file.read(_CHUNK).lstrip()
    file.seek(0)
    if head.startswith(b"["):
        return "tau-bench"
    return "tau-bench" if b'"traj"' in head.partition(b"\n")[0] else "openai"


# A piece parsed: where, its records and scores, or why it is bad; and how far into the file it ends.
_Parsed = tuple[str, list[Record], tuple[Score, ...], Exception | None, int]


def _write(parsed: Iterator[_Parsed], writer: TraceWriter, progress: Progress) -> ImportReport:
    report = ImportReport()
    batch: list[Record] = []
    scores: dict[str, tuple[Score, ...]] = {}

    def flush() -> None:
        new = writer.append(batch)
        report.new += new
        report.known += len(batch) - new
        for trace_id, given in scores.items():
            writer.append_scores(trace_id, given)
        batch.clear()
        scores.clear()

    for where, records, given, error, position in parsed:
        if error is not None:
            report.refuse(where, error)
        report.read += len(records)
        batch += records
        if given and records:
            scores[records[0].call.trace_id] = given
        if len(batch) >= _BATCH:
            flush()
        progress(position)
    flush()
    return report


def _lines(file: BinaryIO, prices: PriceTable) -> Iterator[_Parsed]:
    for number, line, position in _split_lines(file):
        where = f"line {number}"
        if len(line) > _LARGEST:
            yield where, [], (), FormatError(f"longer than {_LARGEST >> 20} MiB"), position
        elif line.strip():
            try:
                record, scores = openai_jsonl.record_of(line, number, prices)
            except (FormatError, RecursionError, UnicodeError) as error:
                yield where, [], (), error, position
            else:
                yield where, [record], scores, None, position


def _split_lines(file: BinaryIO) -> Iterator[_Piece]:
    number = position = 0
    while line := file.readline(_LARGEST + 1):
        number += 1
        position += len(line)
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(_CHUNK)):
            position += len(rest)
        yield number, line, position


def _trajectories(file: BinaryIO, stem: str, prices: PriceTable) -> Iterator[_Parsed]:
    for number, text, position in _split_objects(file):
        where = f"trajectory {number}"
        try:
            records, scores = tau_bench.records_of(text, stem, prices)
        except (FormatError, RecursionError, UnicodeError) as error:
            yield where, [], (), error, position
        else:
            yield where, records, scores, None, position


def _split_objects(file: BinaryIO) -> Iterator[_Piece]:
    """The outermost {...} of a JSON array, or of lines, one at a time; what stands between them, commas and brackets
    apart, is a piece of its own, and so is an object that never ends."""
    number = position = depth = 0
    in_string = False
    held = bytearray()
    while chunk := file.read(_CHUNK):
        cursor = start = 0
        while match := (_INSIDE if in_string else _OUTSIDE).search(chunk, cursor):
            cursor = match.end()
            mark = match.group()
            if in_string and mark == b"\\":
                # An escape at the chunk's very end takes the next chunk's first byte with it.
                if cursor == len(chunk):
                    chunk += file.read(1)
                cursor += 1
            elif mark == b'"':
                in_string = not in_string
            elif mark == b"{":
                if depth == 0 and _is_junk(held + chunk[start : cursor - 1]):
                    number += 1
                    yield number, bytes(held + chunk[start : cursor - 1]), position + cursor
                if depth == 0:
                    held.clear()
                    start = cursor - 1
                depth += 1
            elif depth <= 1:
                number += 1
                yield number, bytes(held + chunk[start:cursor]), position + cursor
                held.clear()
                start, depth = cursor, 0
            else:
                depth -= 1
        held += chunk[start:]
        position += len(chunk)
        if len(held) > _LARGEST:
            break
    if _is_junk(held):
        yield number + 1, bytes(held), position


def _is_junk(text: bytes | bytearray) -> bool:
    return bool(text.strip(b" \t\r\n,[]"))
