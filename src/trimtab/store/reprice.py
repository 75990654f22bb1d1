"""Re-pricing: what recorded calls cost by the price table of today, told anew from the provider's own usage."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import msgspec

from trimtab.errors import StoreError
from trimtab.money import PriceTable, Usage, usage_of
from trimtab.store import schema
from trimtab.store.rows import SELECT_CALL, call_of
from trimtab.store.writer import TraceWriter
from trimtab.trace import CACHE_TAG, Call

_PIECE = 1000
_READ = (
    f"SELECT {SELECT_CALL}, calls.rowid FROM calls WHERE started_ns >= ? AND rowid > ? ORDER BY rowid LIMIT {_PIECE}"
)
_SET = """UPDATE calls SET input_tokens = ?, output_tokens = ?, cache_read_tokens = ?, cache_write_tokens = ?,
    reasoning_tokens = ?, cache_write_1h_tokens = ?, batch = ?, cost_nanodollars = ?, price_table = ?, priced_as = ?
    WHERE rowid = ?"""

# Gets the calls done and the calls there are.
Progress = Callable[[int, int], None]


class RepriceReport(msgspec.Struct):
    """What re-pricing did, or would do. The totals sum the calls whose cost is known, before and after.

    `unpriced` counts, by name, the calls that used tokens and have no cost still; `kept` those whose name has left the
    table: they keep the cost and the table's version that they had.
    """

    table: str
    calls: int = 0
    changed: int = 0
    old_nanodollars: int = 0
    new_nanodollars: int = 0
    unpriced: dict[str, int] = {}
    kept: dict[str, int] = {}

    def count(self, old: Call, new: Call) -> None:
        """Take one call in."""
        self.calls += 1
        self.changed += old.cost_nanodollars != new.cost_nanodollars
        self.old_nanodollars += old.cost_nanodollars or 0
        self.new_nanodollars += new.cost_nanodollars or 0
        name = new.priced_as or new.response_model or new.request_model or "a model without a name"
        if new.cost_nanodollars is None and (new.usage.input_tokens or new.usage.output_tokens):
            self.unpriced[name] = self.unpriced.get(name, 0) + 1
        elif new.cost_nanodollars is not None and new.price_table != self.table:
            self.kept[name] = self.kept.get(name, 0) + 1


class Pricing(msgspec.Struct, frozen=True):
    """By what to price: the table, and the price names that the configuration gives to endpoints, by endpoint."""

    table: PriceTable
    names: Mapping[str, str] = {}

    def of(self, call: Call) -> Call:
        """`call` with its usage told anew from the raw one, and its cost by the table.

        Looked up is the name under which the call was priced when it was made; where the table does not know it, the
        endpoint's price name of today; for a call that noted no name, the model that answered, then the one asked for.
        No usage, no cost. A name that is not in the table leaves cost and version as they were, which may be unknown.
        """
        if call.tags.get(CACHE_TAG) == "hit":
            return call  # No model server was asked: it costs nothing at any price.
        told = None if call.usage.estimated else usage_of(call.raw_usage)
        usage = told or call.usage
        if told is None and usage == Usage():
            return msgspec.structs.replace(call, cost_nanodollars=None, price_table="")
        modelled = () if call.priced_as else (call.response_model, call.request_model)
        for name in (call.priced_as, self.names.get(call.endpoint, ""), *modelled):
            cost = self.table.cost(name, usage) if name else None
            if cost is not None:
                return msgspec.structs.replace(
                    call, usage=usage, cost_nanodollars=cost.nanodollars, price_table=cost.table, priced_as=name
                )
        return call if call.cost_nanodollars is not None else msgspec.structs.replace(call, usage=usage)


def reprice(
    writer: TraceWriter, pricing: Pricing, *, since_ns: int | None = None, progress: Progress | None = None
) -> RepriceReport:
    """Price every call in the store that started at `since_ns` or later.

    Each day file is one transaction: stopped half-way, whole days are done and the others untouched, and a second run
    gives the same end. Raises StoreError or DiskFull.
    """
    run = _Run(pricing, RepriceReport(pricing.table.version), progress, since_ns or 0)
    return _days(writer.folder, writer.change, run, _SET)


def preview(
    folder: Path, pricing: Pricing, *, since_ns: int | None = None, progress: Progress | None = None
) -> RepriceReport:
    """What `reprice` would do. Writes nothing, and works beside a writer."""
    return _days(folder, _reading, _Run(pricing, RepriceReport(pricing.table.version), progress, since_ns or 0))


class _Run(msgspec.Struct):
    pricing: Pricing
    report: RepriceReport
    progress: Progress | None
    since: int
    total: int = 0


def _days(
    folder: Path,
    opened: Callable[[Path], AbstractContextManager[sqlite3.Connection]],
    run: _Run,
    change: str | None = None,
) -> RepriceReport:
    days = [path for path in schema.day_files(folder) if schema.day_start_ns(path) + schema.DAY_NS > run.since]
    counts = {path: _count(path, run.since) for path in days}
    run.total = sum(counts.values())
    for path in days:
        if counts[path]:
            with opened(path) as connection:
                _day(connection, run, change)
    return run.report


def _day(connection: sqlite3.Connection, run: _Run, change: str | None) -> None:
    last = -1
    while rows := connection.execute(_READ, (run.since, last)).fetchall():
        last = rows[-1][-1]
        changes = []
        for row in rows:
            old = call_of(row)
            new = run.pricing.of(old)
            run.report.count(old, new)
            if new != old:
                changes.append((*_values(new), row[-1]))
        if change is not None:
            connection.executemany(change, changes)
        if run.progress is not None:
            run.progress(run.report.calls, run.total)


def _values(call: Call) -> tuple[object, ...]:
    usage = call.usage
    return (
        *(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens),
        *(usage.reasoning_tokens, usage.cache_write_1h_tokens, usage.batch),
        *(call.cost_nanodollars, call.price_table, call.priced_as),
    )


def _count(path: Path, since: int) -> int:
    with _reading(path) as connection:
        row = connection.execute("SELECT count(*) FROM calls WHERE started_ns >= ?", (since,)).fetchone()
    return int(row[0])


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    connection = schema.open_for_reading(path)
    if connection is None:
        raise StoreError(f"{path} is gone, or has no tables yet: run this again")
    with closing(connection):
        try:
            yield connection
        except sqlite3.Error as error:
            raise schema.refusal(error, path) from error
