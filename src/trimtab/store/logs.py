"""Logs: anyone's calls as records, a piece at a time, whatever wrote them. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from trimtab.money import PriceTable
from trimtab.store.formats.reading import ImportReport, Taken

__all__ = ["FORMATS", "ImportReport", "records", "size_of"]

FORMATS = (
    *("auto", "trimtab", "openai", "anthropic", "litellm", "langfuse", "phoenix", "helicone", "otlp"),
    *("tau-bench", "azure", "mooncake"),
)
# Gets how far the reading is, in the unit of `size_of`.
Progress = Callable[[int], None]


def size_of(source: str | Path) -> int | None:
    """What `progress` ends at: the bytes of the file or of all files in the folder; None for a database."""
    raise NotImplementedError


def records(
    source: str | Path,
    prices: PriceTable,
    *,
    kind: str = "auto",
    report: ImportReport,
    progress: Progress | None = None,
) -> Iterator[Taken]:
    """Every call in `source`, in its order, each with the scores that came with it (they are its trace's).

    `source` is a file (plain, gzip or zstd), a folder of such files, a store's folder, or the address of a database
    (`postgresql://…`) with LiteLLM's table. `kind` is one of FORMATS. Bodies stay JSON texts (`EncodedPayload`); a
    length-only trace has none, save Mooncake's, whose request is {"hash_ids": [block ids]}. A call whose id came
    before is counted as known and passed over. `report` counts as the iterator goes on. Raises FormatError where the source cannot be opened or is
    of no known kind, MissingExtra where its driver is not installed; what is bad in it is never raised, only counted.
    """
    raise NotImplementedError
