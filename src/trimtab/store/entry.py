"""Entry: what waits to be written to the store, and its line of JSON while it waits on the disk. Knows no files."""

from __future__ import annotations

import msgspec

from trimtab.store.redaction import scrub
from trimtab.trace import EncodedRecord, Record, Score


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record, or the scores of a trace."""

    record: Record | None = None
    trace_id: str = ""
    scores: tuple[Score, ...] = ()


class _Line(Entry, frozen=True):
    record: EncodedRecord | None = None


_DECODER = msgspec.json.Decoder(_Line)


def line_of(entry: Entry, *, redact_personal: bool = False) -> bytes | None:
    """The line, scrubbed, with its newline; None where it cannot be encoded."""
    record = entry.record
    try:
        kept = entry if record is None else Entry(scrub(record, personal_data=redact_personal))
        # A body may come with line ends between its tokens; in its strings there can be none.
        return msgspec.json.encode(kept).replace(b"\n", b" ") + b"\n"
    except (OverflowError, UnicodeError, RecursionError):
        return None


def entry_of(line: bytes) -> Entry | None:
    """What a line held; None where it is torn, or none of ours."""
    try:
        # Checked whole: bodies are passed over undecoded.
        return _DECODER.decode(line.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
