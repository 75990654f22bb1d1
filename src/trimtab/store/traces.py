"""TraceReader: traces and their summaries out of the day files. Reads while a writer runs, and never writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.store import schema
from trimtab.store.rows import SELECT_CALL, call_of, payload_of
from trimtab.store.writer import TraceWriter
from trimtab.trace import Call, Payload, Score, Trace

__all__ = ["TraceFilter", "TraceReader", "TraceSummary", "TraceWriter", "summarize"]

# Consecutive traces are in the same day file, or in the next one around midnight.
_OPEN_DAYS = 4


class TraceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One trace in a line of figures.

    `duration_ms` is from the first request to the last answer. `cost_nanodollars` sums the calls whose price is known
    and is None where none is; `unpriced` counts the calls that used tokens at an unknown price, so a cost with
    `unpriced` > 0 is a lower bound. `agents` stand in the order of their first call; `ends` counts end states.
    """

    id: str
    workflow: str
    session: str
    started_ns: int
    duration_ms: float
    calls: int
    agents: tuple[str, ...]
    input_tokens: int
    output_tokens: int
    cost_nanodollars: int | None
    unpriced: int
    scores: tuple[Score, ...]
    ends: dict[str, int]


class TraceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which traces: each word given must hold for one and the same call of the trace. `since_ns`: a call started then
    or later."""

    workflow: str | None = None
    agent: str | None = None
    session: str | None = None
    since_ns: int | None = None

    def where(self) -> tuple[str, list[Any]]:
        """The SQL condition on `calls`, and its values."""
        given = {"workflow = ?": self.workflow, "agent = ?": self.agent, "session = ?": self.session}
        given["started_ns >= ?"] = self.since_ns  # type: ignore[assignment]
        clauses = {clause: value for clause, value in given.items() if value is not None}
        return " AND ".join(clauses) or "1", list(clauses.values())


def summarize(trace: Trace) -> TraceSummary:
    """The summary of a trace with at least one call."""
    calls = trace.calls
    start = min(call.started_ns for call in calls)
    costs = [call.cost_nanodollars for call in calls if call.cost_nanodollars is not None]
    ends: dict[str, int] = {}
    for call in calls:
        ends[call.end.value] = ends.get(call.end.value, 0) + 1
    return TraceSummary(
        id=trace.id,
        workflow=next((call.workflow for call in calls if call.workflow), ""),
        session=next((call.session for call in calls if call.session), ""),
        started_ns=start,
        duration_ms=max((call.started_ns - start) / 1e6 + call.duration_ms for call in calls),
        calls=len(calls),
        agents=tuple(dict.fromkeys(call.agent for call in calls if call.agent)),
        input_tokens=sum(call.usage.input_tokens for call in calls),
        output_tokens=sum(call.usage.output_tokens for call in calls),
        cost_nanodollars=sum(costs) if costs else None,
        unpriced=sum(map(_is_unpriced, calls)),
        scores=trace.scores,
        ends=ends,
    )


def _is_unpriced(call: Call) -> bool:
    used = call.usage.input_tokens or call.usage.output_tokens
    return call.cost_nanodollars is None and bool(used)


class TraceReader:
    """Reads the day files of `folder`; a folder that is missing or empty has no traces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def traces(
        self,
        *,
        workflow: str | None = None,
        agent: str | None = None,
        session: str | None = None,
        since_ns: int | None = None,
        limit: int = 50,
    ) -> list[TraceSummary]:
        """Summaries of at most `limit` traces that fit, newest first. Reads no bodies."""
        wanted = TraceFilter(workflow=workflow, agent=agent, session=session, since_ns=since_ns)
        with self._days() as days:
            starts = self._starts(days, wanted, limit)
            newest = sorted(starts, key=lambda name: (-starts[name], name))[: max(0, limit)]
            places = self._places(days, newest)
            found = [self._load(days, name, places[name].paths, bodies=False) for name in newest if name in places]
        summaries = [summarize(trace) for trace in found if trace.calls]
        return sorted(summaries, key=lambda summary: (-summary.started_ns, summary.id))

    def trace(self, trace_id: str) -> Trace:
        """The whole trace with bodies and scores; a unique beginning of its id will do.

        Raises FormatError where no trace or more than one begins with `trace_id`.
        """
        with self._days() as days:
            return self._load(days, self._full_id(days, trace_id), days.paths, bodies=True)

    def scan(self, wanted: TraceFilter | None = None, *, bodies: bool = True) -> Iterator[Trace]:
        """Every trace that fits, in order of start, one at a time in memory (besides the list of ids)."""
        with self._days() as days:
            places = self._places(days, self._starts(days, wanted or TraceFilter(), None))
            for name in sorted(places, key=lambda name: (places[name].started_ns, name)):
                trace = self._load(days, name, places[name].paths, bodies=bodies)
                if trace.calls:
                    yield trace

    def count(self) -> int:
        """How many calls the store holds."""
        with self._days() as days:
            return sum(int(row[0]) for path in days.paths for row in days.select(path, "SELECT count(*) FROM calls"))

    @contextmanager
    def _days(self) -> Iterator[_Days]:
        days = _Days(schema.day_files(self.folder))
        try:
            yield days
        finally:
            days.close()

    def _starts(self, days: _Days, wanted: TraceFilter, limit: int | None) -> dict[str, int]:
        """Trace id → start; newest day first, until `limit` traces are known to be newer than every day not read.

        One day more is read than holds them, since what goes on after midnight may have begun before.
        """
        starts: dict[str, int] = {}
        condition, values = wanted.where()
        newer = 2**63
        for path in reversed(days.paths):
            midnight = schema.day_start_ns(path)
            if wanted.since_ns is not None and midnight + schema.DAY_NS <= wanted.since_ns:
                break
            query = f"SELECT trace_id, min(started_ns) FROM calls WHERE {condition} GROUP BY trace_id"
            starts.update(days.select(path, query, values))
            if limit is not None and sum(start >= newer for start in starts.values()) >= limit:
                break
            newer = midnight
        return starts

    def _places(self, days: _Days, names: Collection[str]) -> dict[str, _Place]:
        """Where the traces `names` really start, and every day file that holds a call or a score of them."""
        few = list(names) if len(names) <= 500 else []
        condition = f"WHERE trace_id IN ({', '.join('?' * len(few))})" if few else ""
        places: dict[str, _Place] = {}
        for path in days.paths if names else ():
            query = f"SELECT trace_id, min(started_ns) FROM calls {condition} GROUP BY trace_id"
            found = dict(days.select(path, query, few))
            scored = {row[0] for row in days.select(path, f"SELECT trace_id FROM scores {condition}", few)}
            for name in (found.keys() | scored) & set(names):
                place = places.setdefault(name, _Place())
                place.paths.append(path)
                place.started_ns = min(place.started_ns, found.get(name, place.started_ns))
        return places

    def _load(self, days: _Days, trace_id: str, paths: list[Path], *, bodies: bool) -> Trace:
        calls: list[Call] = []
        payloads: dict[str, Payload] = {}
        scores: dict[tuple[str, str], tuple[int, Score]] = {}
        for path in paths:
            order = "WHERE trace_id = ? ORDER BY started_ns, calls.rowid"
            calls += map(call_of, days.select(path, f"SELECT {SELECT_CALL} FROM calls {order}", [trace_id]))
            if bodies:
                query = f"SELECT call_id, request, response FROM calls JOIN payloads ON call_id = id {order}"
                for row in days.select(path, query, [trace_id]):
                    payloads[row[0]] = payload_of(*row)
            query = "SELECT name, value, source, given_ns FROM scores WHERE trace_id = ? ORDER BY rowid"
            for name, value, source, given_ns in days.select(path, query, [trace_id]):
                if scores.get((name, source), (-1, None))[0] < given_ns:
                    scores[name, source] = (given_ns, Score(name, value, source))
        calls.sort(key=lambda call: call.started_ns)
        return Trace(trace_id, tuple(calls), payloads, tuple(score for _, score in scores.values()))

    def _full_id(self, days: _Days, prefix: str) -> str:
        found: set[str] = set()
        query = "SELECT DISTINCT trace_id FROM calls WHERE trace_id >= ? AND trace_id < ? LIMIT 3"
        for path in days.paths:
            found.update(row[0] for row in days.select(path, query, [prefix, prefix + "\U0010ffff"]))
            if days.select(path, "SELECT 1 FROM calls WHERE trace_id = ? LIMIT 1", [prefix]):
                return prefix
        if not found:
            raise FormatError(f"no trace '{prefix}' in {self.folder}: see `trimtab traces list` for those there are")
        if len(found) > 1 or not prefix:
            some = ", ".join(sorted(found)[:3])
            raise FormatError(f"more than one trace begins with '{prefix}' ({some} …): give more of the id")
        return found.pop()


class _Place:
    """Where one trace lies: its first call's time and its day files, oldest first."""

    def __init__(self) -> None:
        self.started_ns = 2**63
        self.paths: list[Path] = []


class _Days:
    """The day files of one reading, with a few connections kept open."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._open: dict[Path, sqlite3.Connection] = {}

    def select(self, path: Path, query: str, values: list[Any] | None = None) -> list[Any]:
        """All rows, so that no read transaction stays open and holds the writer's checkpoint back."""
        try:
            connection = self._connection(path)
            return [] if connection is None else connection.execute(query, values or []).fetchall()
        except sqlite3.Error as error:
            raise schema.refusal(error, path) from error

    def _connection(self, path: Path) -> sqlite3.Connection | None:
        connection = self._open.pop(path, None) or schema.open_for_reading(path)
        if connection is None:
            return None
        self._open[path] = connection
        if len(self._open) > _OPEN_DAYS:
            self._open.pop(next(iter(self._open))).close()
        return connection

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()
        self._open.clear()
