"""Spill: records that did not fit the recorder's memory, in bounded files beside the day files until they are written.

Lines of JSON: a line is whole or, after a kill in the middle of a write, the file's last. Secrets are scrubbed first.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from trimtab.errors import DiskFull, StoreBusy, StoreError
from trimtab.store import schema
from trimtab.store.entry import Entry, entry_of, line_of
from trimtab.trace import Record, Score

_SEGMENT_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
_NAME = "spill-{:08d}.jsonl"


class Sink(Protocol):
    """Where entries go in the end (`trimtab.store.traces.TraceWriter`)."""

    def append(self, records: Sequence[Record]) -> int: ...

    def append_scores(self, trace_id: str, scores: Sequence[Score]) -> None: ...


class Spill:
    """Files `spill-NUMBER.jsonl` in `folder`, of `max_bytes` together. One thread may append while another replays."""

    def __init__(self, folder: Path, max_bytes: int, *, redact_personal: bool = False) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.redact_personal = redact_personal
        self._guard = threading.Lock()
        self._file: int | None = None
        self._segments = sorted(folder.glob("spill-*.jsonl"))
        self._bytes = sum(path.stat().st_size for path in self._segments)
        self._next = max((int(path.stem[6:]) for path in self._segments if path.stem[6:].isdigit()), default=0) + 1
        self._size = 0
        # How far into the oldest segment was replayed.
        self._offset = 0

    def __bool__(self) -> bool:
        """Whether anything waits to be replayed."""
        return bool(self._segments)

    def append(self, entries: Sequence[Entry]) -> int:
        """Write as many of `entries` as fit; how many. What was written survives the death of the process."""
        lines = [
            line for entry in entries if (line := line_of(entry, redact_personal=self.redact_personal)) is not None
        ]
        kept, size = 0, 0
        with self._guard:
            for line in lines:
                if self._bytes + size + len(line) > self.max_bytes:
                    break
                kept, size = kept + 1, size + len(line)
            return kept if kept and self._write(b"".join(lines[:kept])) else 0

    def replay(self, sink: Sink) -> tuple[int, int] | None:
        """Write the oldest entries into `sink`, a piece at a time; how many went in, and how many could not.

        None where nothing waits. Raises DiskFull or StoreBusy, and the piece stays. After a crash a piece may come
        again: the sink knows its records.
        """
        path = self._oldest()
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                file.seek(self._offset)
                lines = file.readlines(_PIECE_BYTES)
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise schema.refusal(error, path) from error
        entries = [entry for line in lines if (entry := entry_of(line)) is not None]
        failed = len(lines) - len(entries) + _pour(entries, sink)
        self._offset += sum(map(len, lines))
        if not lines:
            self._drop(path)
        return len(lines) - failed, failed

    def drain(self, sink: Sink) -> None:
        """Replay all that waits."""
        while self.replay(sink) is not None:
            pass

    def close(self) -> None:
        """End the segment that is being written."""
        with self._guard:
            self._seal()

    def _write(self, content: bytes) -> bool:
        if self._file is not None and self._size > _SEGMENT_BYTES:
            self._seal()
        try:
            if self._file is None:
                path = self.folder / _NAME.format(self._next)
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                self._segments.append(path)
                self._next, self._size = self._next + 1, 0
            if os.write(self._file, content) < len(content):
                os.ftruncate(self._file, self._size)
                os.lseek(self._file, self._size, os.SEEK_SET)
                return False
        except OSError:
            return False
        self._size += len(content)
        self._bytes += len(content)
        return True

    def _oldest(self) -> Path | None:
        with self._guard:
            if len(self._segments) == 1:
                self._seal()
            return self._segments[0] if self._segments else None

    def _drop(self, path: Path) -> None:
        with self._guard:
            self._bytes = max(0, self._bytes - self._offset)
            self._segments.remove(path)
            self._offset = 0
            path.unlink(missing_ok=True)

    def _seal(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _pour(entries: Sequence[Entry], sink: Sink) -> int:
    """Write `entries`; how many the sink could not take. One of them must not cost the others."""
    try:
        sink.append([entry.record for entry in entries if entry.record is not None])
        for entry in entries:
            if entry.record is None:
                sink.append_scores(entry.trace_id, entry.scores)
    except (DiskFull, StoreBusy):
        raise
    except StoreError:
        return 1 if len(entries) == 1 else sum(_pour([entry], sink) for entry in entries)
    return 0
