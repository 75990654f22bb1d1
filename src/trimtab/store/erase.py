"""Erasure: what the store holds of a user, a session or a trace is taken out of its files, down to the bytes.

Whole traces go: the other calls of a trace in which one names the user hold the same person's words.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from trimtab.errors import ConfigError
from trimtab.store import schema
from trimtab.store.artifacts import ArtifactStore
from trimtab.store.spill import Spill
from trimtab.store.writer import TraceWriter

_MANY = 500


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """Which traces to erase: those in which one and the same call has every value that is given.

    `named` are the artefacts that the configuration serves; they are not deleted.
    """

    user: str | None = None
    session: str | None = None
    trace: str | None = None
    named: frozenset[str] = frozenset()

    def where(self) -> tuple[str, list[str]]:
        """The SQL condition on `calls`, and its values; ConfigError where nothing is given."""
        given = {"user = ?": self.user, "session = ?": self.session, "trace_id = ?": self.trace}
        clauses = {clause: value for clause, value in given.items() if value}
        if not clauses:
            raise ConfigError("nothing says what to erase: give --user, --session or --trace")
        return " AND ".join(clauses), list(clauses.values())


class EraseReport(msgspec.Struct):
    """What was erased. `artifacts` are the digests of those deleted; `artifacts_kept` of those that were built from an
    erased trace, and from others or for the configuration: build them anew, then delete their folders."""

    traces: int = 0
    calls: int = 0
    bodies: int = 0
    scores: int = 0
    days: int = 0
    artifacts: list[str] = []
    artifacts_kept: list[str] = []


def preview(folder: Path, wanted: Erasure) -> EraseReport:
    """How many traces and calls would go; of those in the day files alone. Writes nothing."""
    traces = _traces(folder, wanted)
    report = EraseReport(traces=len(traces))
    for path in schema.day_files(folder):
        for some in _pieces(traces):
            rows = _read(path, f"SELECT count(*) FROM calls WHERE trace_id IN ({_marks(some)})", some)
            report.calls += int(rows[0][0]) if rows else 0
    return report


def erase(writer: TraceWriter, wanted: Erasure, spill: Spill | None = None) -> EraseReport:
    """Erase the traces that fit, with bodies and scores, and the artefacts that only they are named by.

    Deleted rows are overwritten with zeros, their day files rewritten, and the logs of all days emptied, so that a run
    also ends what an earlier one began. StoreError where a reader holds a log for 10 s: run it again, it goes on.
    """
    # What still waits to be written is erased with the rest; who has the spill open must give it.
    (spill or Spill(writer.folder, 0)).drain(writer)
    traces = _traces(writer.folder, wanted)
    report = EraseReport(traces=len(traces))
    for path in schema.day_files(writer.folder):
        with writer.change(path) as connection:
            gone = [_delete(connection, some, report) for some in _pieces(traces)]
        report.days += any(gone)
        writer.compact(path, rewrite=any(gone))
    _erase_artifacts(writer.folder, frozenset(traces), wanted.named, report)
    return report


def _delete(connection: sqlite3.Connection, traces: Sequence[str], report: EraseReport) -> bool:
    marks = _marks(traces)
    bodies = f"DELETE FROM payloads WHERE call_id IN (SELECT id FROM calls WHERE trace_id IN ({marks}))"
    counts = [
        connection.execute(statement, traces).rowcount
        for statement in (
            bodies,
            f"DELETE FROM calls WHERE trace_id IN ({marks})",
            f"DELETE FROM scores WHERE trace_id IN ({marks})",
        )
    ]
    report.bodies += counts[0]
    report.calls += counts[1]
    report.scores += counts[2]
    return any(counts)


def _traces(folder: Path, wanted: Erasure) -> list[str]:
    condition, values = wanted.where()
    query = f"SELECT DISTINCT trace_id FROM calls WHERE {condition}"
    return sorted({str(row[0]) for path in schema.day_files(folder) for row in _read(path, query, values)})


def _erase_artifacts(folder: Path, erased: Collection[str], named: Collection[str], report: EraseReport) -> None:
    store = ArtifactStore(folder)
    for artifact in store.list():
        built_from = artifact.manifest.get("traces")
        names = {name for name in built_from if isinstance(name, str)} if isinstance(built_from, list) else set()
        if not names & set(erased):
            continue
        if artifact.digest in named or _any_left(folder, sorted(names)):
            report.artifacts_kept.append(artifact.digest)
        else:
            store.remove(artifact.digest)
            report.artifacts.append(artifact.digest)


def _any_left(folder: Path, traces: Sequence[str]) -> bool:
    return any(
        _read(path, f"SELECT 1 FROM calls WHERE trace_id IN ({_marks(some)}) LIMIT 1", some)
        for path in schema.day_files(folder)
        for some in _pieces(traces)
    )


def _read(path: Path, query: str, values: Sequence[str]) -> list[tuple[str | int, ...]]:
    connection = schema.open_for_reading(path)
    if connection is None:
        return []
    with closing(connection):
        try:
            return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise schema.refusal(error, path) from error


def _pieces(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _MANY):
        yield names[start : start + _MANY]


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
