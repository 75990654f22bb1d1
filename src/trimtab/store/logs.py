"""Logs: anyone's calls as records, a piece at a time, whatever wrote them. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedReader
from pathlib import Path

from trimtab.errors import FormatError
from trimtab.money import PriceTable
from trimtab.store import pieces
from trimtab.store.formats import known, spendtable, trimtab_store, wire
from trimtab.store.formats.reading import Format, ImportReport, Piece, Reading, Taken, taken
from trimtab.store.unpacked import opened

__all__ = ["FORMATS", "ImportReport", "records", "size_of"]

FORMATS = ("auto", "trimtab", *known.BY_NAME)
# Gets how far the reading is, in the unit of `size_of`.
Progress = Callable[[int], None]
_DATABASES = ("postgresql://", "postgres://")
_HEAD = 1 << 18


def size_of(source: str | Path) -> int | None:
    """What `progress` ends at: the bytes of the file or of all files in the folder; None for a database."""
    if _is_database(source):
        return None
    path = Path(source)
    try:
        if days := trimtab_store.days_in(path):
            return sum(map(trimtab_store.size_of, days))
        return sum(one.stat().st_size for one in _files(path)) if path.is_dir() else path.stat().st_size
    except OSError as error:
        raise _unopened(path, error) from error


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
    before is counted as known and passed over. `report` counts as the iterator goes on. Raises FormatError where the
    source cannot be opened or is of no known kind, MissingExtra where its driver is not installed; what is bad in it
    is never raised, only counted.
    """
    if kind not in FORMATS:
        raise FormatError(f"no format is named '{kind}': give one of {', '.join(FORMATS)}")
    reading = Reading(prices, report)
    seen: set[int] = set()
    for one in _all(source, kind, reading, progress or (lambda _: None)):
        report.read += 1
        # Of an id of any length eight bytes are kept.
        if (mark := hash(one[0].call.id)) in seen:
            report.known += 1
        else:
            seen.add(mark)
            yield one


def _all(source: str | Path, kind: str, reading: Reading, progress: Progress) -> Iterator[Taken]:
    if _is_database(source):
        if kind not in ("auto", "litellm"):
            raise FormatError(f"of a database the table of LiteLLM is read, and not '{kind}': leave --format away")
        yield from spendtable.calls(str(source), reading, progress)
        return
    path = Path(source)
    try:
        if kind == "trimtab" or (kind == "auto" and trimtab_store.days_in(path)):
            yield from trimtab_store.calls(path, reading.report, progress)
        elif path.is_dir():
            yield from _folder(path, kind, reading, progress)
        else:
            yield from _file(path, kind, reading, progress)
    except OSError as error:
        raise _unopened(path, error) from error


def _is_database(source: str | Path) -> bool:
    return isinstance(source, str) and source.startswith(_DATABASES)


def _unopened(path: Path, error: OSError) -> FormatError:
    reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or error
    return FormatError(f"cannot read {path}: {reason}; name a file or a folder that is there")


def _files(folder: Path) -> list[Path]:
    """Every file below `folder` but the hidden ones, by name."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _folder(folder: Path, kind: str, reading: Reading, progress: Progress) -> Iterator[Taken]:
    """A file of no known kind among others is a bad one, no end of the reading."""
    files = _files(folder)
    if not files:
        raise FormatError(f"there is no file in {folder}: name a folder with logs in it")
    before = 0
    for path in files:
        try:
            yield from _file(path, kind, reading, partial(_onward, progress, before), known_only=True)
        except (FormatError, OSError) as error:
            reading.report.refuse(path.name, error)
        before += path.stat().st_size if path.exists() else 0
        progress(before)


def _onward(progress: Progress, before: int, done: int) -> None:
    progress(before + done)


def _file(path: Path, kind: str, reading: Reading, progress: Progress, *, known_only: bool = False) -> Iterator[Taken]:
    raw, file = opened(path)
    with file:
        reading.stem = path.name.partition(".")[0] if path.suffix in (".gz", ".zst") else path.stem
        form, found = _shape(file.peek(_HEAD), kind, file, lambda: raw.packed)
        if form is None and known_only:
            raise FormatError("no log of a known kind")
        reader = (form or known.BY_NAME["openai"]).reader(reading)
        for piece in found:
            for one in _opened(piece):
                yield from taken(one, reader, reading.report)
            progress(piece.position)
        if raw.damage:
            reading.report.refuse(path.name, raw.damage)
        progress(raw.packed)


def detect(path: Path) -> str:
    """The kind of the file, one of FORMATS; 'auto' where it is none of them."""
    raw, file = opened(path)
    with file:
        form, _ = _shape(file.peek(_HEAD), "auto", file, lambda: raw.packed)
        return form.name if form else "auto"


def _shape(
    head: bytes, kind: str, file: BufferedReader, position: pieces.Position
) -> tuple[Format | None, Iterator[Piece]]:
    """The format of a file that begins with `head`, None where it is of no known one, and its pieces."""
    start, form = head.lstrip(), known.BY_NAME.get(kind)
    if start[:1] in (b"{", b"["):
        first = next((text for text in pieces.outermost(start) if text[:1] == b"{"), b"")
        form = form or known.told(known.names_in(first or start))
        one_a_line = start[:1] == b"{" and (form is None or form.name != "tau-bench") and _is_line(start, first)
        return form, (pieces.lines if one_a_line else pieces.objects)(file, position)
    line, _, _ = start.partition(b"\n")
    if b"," in line and line.isascii() and line.strip(b"\r").decode().isprintable():
        names = frozenset(name.strip(' "') for name in line.strip(b"\r").decode().split(","))
        if (told := form or known.told(names)) is not None and told.has(names):
            return told, pieces.rows(file, position)
    if kind in ("auto", "otlp") and wire.begins(head):
        return known.BY_NAME["otlp"], wire.pieces(file, position)
    return form, (pieces.objects if kind == "tau-bench" else pieces.lines)(file, position)


def _is_line(start: bytes, first: bytes) -> bool:
    """Whether the file has an object a line, and not one that is spread over many."""
    line = start.partition(b"\n")[0].strip()
    return line != b"{" and not (b"\n" in first and line[-1:] in (b",", b"{", b"["))


def _opened(piece: Piece) -> Iterator[Piece]:
    """The piece, or the calls in it where it is a page of them."""
    if known.may_wrap(piece.text) and (inner := known.unwrapped(piece.text)) is not None:
        for number, text in enumerate(inner, 1):
            yield Piece(f"{piece.where}, {number}", piece.number * 1000 + number, text, piece.position)
    else:
        yield piece
