"""Traces out of the store as JSON Lines (see `openai_jsonl`), one trace at a time in memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from trimtab.errors import StoreError
from trimtab.store import schema
from trimtab.store.formats.openai import lines_of
from trimtab.trace import Trace


def export(traces: Iterable[Trace], file: BinaryIO) -> int:
    """Write `traces` to `file`; the number of calls."""
    calls = 0
    for trace in traces:
        file.writelines(lines_of(trace))
        calls += len(trace.calls)
    file.flush()
    return calls


def export_file(traces: Iterable[Trace], path: Path) -> int:
    """Write `traces` to `path`, which appears whole or not at all; the number of calls. Raises StoreError, DiskFull."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            calls = export(traces, file)
        part.replace(path)
    except (OSError, StoreError) as error:
        part.unlink(missing_ok=True)
        if isinstance(error, StoreError):
            raise
        raise schema.refusal(error, path) from error
    return calls
