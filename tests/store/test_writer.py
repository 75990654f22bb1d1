"""What alters history: changes that are whole or undone, days that are rewritten, and days that go."""

import contextlib
import sqlite3
import time

import pytest

from tests.store.samples import make_record
from trimtab.store import rows, schema
from trimtab.store.traces import TraceReader, TraceWriter


def at(number, days_ago, trace):
    """A call `days_ago` whole days before this moment."""
    return make_record(number, trace=trace, started_ns=time.time_ns() - days_ago * schema.DAY_NS)


@pytest.fixture
def writer(tmp_path):
    with TraceWriter(tmp_path / "store") as writer:
        writer.append([at(number, days, f"t{days}") for number, days in enumerate((0, 1, 2, 3, 30, 400))])
        yield writer


def ids(writer):
    return [trace.id for trace in TraceReader(writer.folder).traces()]


def test_a_change_that_fails_is_undone(writer):
    day = schema.day_files(writer.folder)[0]
    with pytest.raises(ValueError, match="half-way"), writer.change(day) as connection:
        connection.execute("DELETE FROM calls")
        raise ValueError("half-way")
    assert "t400" in ids(writer)
    with writer.change(day) as connection:
        connection.execute("DELETE FROM calls")
    assert "t400" not in ids(writer)


def test_days_are_kept_for_at_least_so_long_and_a_day_more_at_most(writer):
    # A call made exactly two days ago lies in a file whose end is less than two days ago.
    assert [schema.day_start_ns(path) for path in writer.prune(2, dry_run=True)] == [
        schema.day_start_ns(path) for path in schema.day_files(writer.folder)[:3]
    ]
    assert len(ids(writer)) == 6
    writer.prune(2)
    assert ids(writer) == ["t0", "t1", "t2"]
    left = {path.name.removesuffix("-wal").removesuffix("-shm") for path in writer.folder.glob("calls-*")}
    assert left == {path.name for path in schema.day_files(writer.folder)}
    assert writer.prune(2) == []
    writer.append([at(9, 400, "late")])
    assert ids(writer)[-1] == "late"


def test_housekeeping_prunes_once_a_day(tmp_path, monkeypatch):
    with TraceWriter(tmp_path, keep_days=3) as writer:
        writer.append([at(1, 0, "new"), at(2, 2, "older"), at(3, 30, "old")])
        writer.housekeep()
        assert ids(writer) == ["new", "older"]
        writer.append([at(4, 30, "imported")])
        writer.housekeep()
        assert ids(writer) == ["new", "older", "imported"]
        now = time.time_ns()
        monkeypatch.setattr(time, "time_ns", lambda: now + 2 * schema.DAY_NS)
        writer.housekeep()
        assert ids(writer) == ["new"]


def test_without_a_retention_nothing_goes(writer):
    writer.housekeep()
    assert len(ids(writer)) == 6


def test_compacting_gives_the_room_back_and_empties_the_log(tmp_path):
    with TraceWriter(tmp_path) as writer:
        writer.append([make_record(number, error="x" * 3_000) for number in range(200)])
        (day,) = schema.day_files(tmp_path)
        writer.compact(day)
        full = day.stat().st_size
        with writer.change(day) as connection:
            connection.execute("DELETE FROM calls")
        writer.compact(day)
        assert day.stat().st_size < full / 2
        assert day.with_name(day.name + "-wal").stat().st_size == 0


def test_a_file_of_the_first_version_is_updated_and_read(tmp_path):
    day = schema.day_path(tmp_path, make_record(1).call.started_ns)
    with contextlib.closing(sqlite3.connect(day, isolation_level=None)) as old:
        for statement in schema.MIGRATIONS[0]:
            old.execute(statement)
        old.execute("PRAGMA user_version=1")
        row = dict(zip(rows.COLUMNS, rows.row_of(make_record(1).call), strict=True))
        first = {name: row[name] for name in rows.COLUMNS[: rows.COLUMNS.index("cache_write_1h_tokens")]}
        old.execute(
            f"INSERT INTO calls ({', '.join(first)}) VALUES ({', '.join('?' * len(first))})", tuple(first.values())
        )
    TraceWriter(tmp_path).close()
    assert TraceReader(tmp_path).trace("t").calls == (make_record(1).call,)
