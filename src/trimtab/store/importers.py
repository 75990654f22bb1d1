"""Logs into the store, a batch at a time: bad lines are counted and passed over, known calls left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trimtab.money import PriceTable
from trimtab.store.logs import FORMATS, ImportReport, records
from trimtab.store.writer import TraceWriter
from trimtab.trace import Record, Score

__all__ = ["FORMATS", "ImportReport", "import_file"]

_BATCH = 100
Progress = Callable[[int], None]


def import_file(
    source: str | Path, writer: TraceWriter, prices: PriceTable, *, kind: str = "auto", progress: Progress | None = None
) -> ImportReport:
    """Write every call in `source` (see `logs.records`) to the store; `progress` gets how far the reading is.

    `kind` is one of FORMATS. Raises FormatError where the source cannot be opened, StoreError or DiskFull where the
    store cannot be written; what is bad in the source is never raised, only counted.
    """
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

    for record, given in records(source, prices, kind=kind, report=report, progress=progress):
        batch.append(record)
        if given:
            scores[record.call.trace_id] = given
        if len(batch) >= _BATCH:
            flush()
    flush()
    return report
