"""Trimtab's own store as a source: its day files, call by call, while a gateway may write them."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.store import schema
from trimtab.store.formats.reading import ImportReport, Taken
from trimtab.store.rows import COLUMNS, SELECT_CALL, call_of, members_of
from trimtab.trace import EncodedPayload, Record, Score

# So many calls are read at once: no transaction stays open and holds the writer's checkpoint back.
_ROWS = 500
_QUERY = (
    f"SELECT {SELECT_CALL}, calls.rowid, payloads.request, payloads.response FROM calls "
    "LEFT JOIN payloads ON call_id = id WHERE calls.rowid > ? ORDER BY calls.rowid LIMIT ?"
)
_SCORES = "SELECT name, value, source FROM scores WHERE trace_id = ? ORDER BY given_ns, rowid"
_WIDTH = len(COLUMNS)


def calls(folder: Path, report: ImportReport, progress: Callable[[int], None]) -> Iterator[Taken]:
    """Every call of the store in `folder`, or of the day file it names, a day after the other, with the scores of its
    trace at the trace's first call of a day. FormatError without a store, StoreError where a file is damaged."""
    days = days_in(folder)
    if not days:
        raise FormatError(f"there is no store in {folder}: name the folder that holds calls-YYYY-MM-DD.sqlite")
    before = 0
    for path in days:
        size = size_of(path)
        yield from _day(path, report, partial(_onward, progress, before, size))
        before += size
        progress(before)


def days_in(place: Path) -> list[Path]:
    """The day files of a store's folder, or the one that `place` is; none where it is neither."""
    if place.is_file():
        return [place] if place in schema.day_files(place.parent) else []
    return schema.day_files(place)


def size_of(path: Path) -> int:
    """Bytes of a day file and of its log, in which the newest calls are."""
    log = path.with_name(path.name + "-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _onward(progress: Callable[[int], None], before: int, size: int, share: float) -> None:
    progress(before + int(size * share))


def _day(path: Path, report: ImportReport, progress: Callable[[float], None]) -> Iterator[Taken]:
    connection = schema.open_for_reading(path)
    if connection is None:
        return
    try:
        last = connection.execute("SELECT max(rowid) FROM calls").fetchone()[0] or 0
        scored = {row[0] for row in connection.execute("SELECT DISTINCT trace_id FROM scores")}
        place = 0
        while rows := connection.execute(_QUERY, (place, _ROWS)).fetchall():
            for row in rows:
                try:
                    record = _record(row)
                except (msgspec.MsgspecError, ValueError, TypeError, zlib.error, UnicodeError) as error:
                    report.refuse(f"{path.name} row {row[_WIDTH]}", error)
                    continue
                yield record, _scores(connection, record.call.trace_id, scored)
            place = rows[-1][_WIDTH]
            progress(place / max(last, place))
    except sqlite3.Error as error:
        raise schema.refusal(error, path) from error
    finally:
        connection.close()


def _record(row: Any) -> Record:
    call = call_of(row[:_WIDTH])
    request, response = row[_WIDTH + 1], row[_WIDTH + 2]
    if request is None:
        return Record(call)
    return Record(
        call, EncodedPayload(call.id, members_of(request), None if response is None else members_of(response))
    )


def _scores(connection: sqlite3.Connection, trace_id: str, scored: set[str]) -> tuple[Score, ...]:
    """The trace's scores, the first time they are asked for."""
    if trace_id not in scored:
        return ()
    scored.discard(trace_id)
    newest = {
        (name, source): Score(name, value, source) for name, value, source in connection.execute(_SCORES, (trace_id,))
    }
    return tuple(newest.values())
