"""Scores: results made elsewhere, one score an item, from JSON lines, CSV, or the logs of other tools."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.evals import logs
from trimtab.evals.imported import Choice, Paired, Result
from trimtab.verdict import digest


class _Line(msgspec.Struct):
    id: str | int
    score: float | bool | None
    cluster: str | int = ""
    slices: tuple[str, ...] = ()


def read(path: Path, choice: Choice | None = None) -> list[Result]:
    """The results in `path`: a log of inspect or lm-eval, of which `choice` says what to take; a CSV file with the
    columns id and score (and cluster, slices, parted by ';'); else JSON lines with these keys. FormatError names the
    line and what to do."""
    if logs.is_log(path):
        return logs.read(path, choice)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise FormatError(f"cannot read the results {path}: {error}") from error
    return parse(text, str(path), is_csv=path.suffix == ".csv")


def parse(text: str, where: str, *, is_csv: bool = False) -> list[Result]:
    """The results that `text` holds. FormatError for a score that is none, an id twice, or no results at all."""
    found: list[Result] = []
    numbers: dict[str, int] = {}
    for number, held in _rows(text, where) if is_csv else _lines(text, where):
        scored = _scored(held, f"{where}:{number}")
        if scored.id in numbers:
            raise FormatError(f"{where}:{number}: the id '{scored.id}' was on line {numbers[scored.id]} already")
        numbers[scored.id] = number
        found.append(scored)
    if not found:
        raise FormatError(f"{where} has no results: write one item a line, with id and score")
    return found


def _lines(text: str, where: str) -> list[tuple[int, Any]]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                found.append((number, msgspec.json.decode(line.encode())))
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                raise FormatError(f"{where}:{number}: no JSON object: {error}") from error
    return found


def _rows(text: str, where: str) -> list[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if not {"id", "score"} <= set(reader.fieldnames or ()):
            raise FormatError(f"{where}:1: no columns 'id' and 'score': name them in the first line")
        return [(reader.line_num, _cells(row)) for row in reader]
    except csv.Error as error:
        raise FormatError(f"{where}:{reader.line_num}: no CSV: {error}") from error


def _cells(row: dict[str | Any, Any]) -> dict[str, Any]:
    """Cells as the JSON lines would have them; what is no number is left for the check to name."""
    score = (row.get("score") or "").strip()
    slices = [name.strip() for name in (row.get("slices") or "").split(";") if name.strip()]
    held = {"id": row.get("id") or "", "cluster": row.get("cluster") or "", "slices": slices}
    try:
        return {**held, "score": float(score) if score else None}
    except ValueError:
        return {**held, "score": score}


def _scored(held: Any, where: str) -> Result:
    try:
        line = msgspec.convert(held, _Line)
    except msgspec.ValidationError as error:
        raise FormatError(f"{where}: {error}; a line has id, score in [0, 1] or null, cluster, slices") from error
    name, score = str(line.id), None if line.score is None else float(line.score)
    if not name:
        raise FormatError(f"{where}: the id is empty: give the item a name")
    if not all(line.slices):
        raise FormatError(f"{where}: a slice without a name: take it out")
    if score is not None and not 0 <= score <= 1:  # NaN is refused by this as well
        raise FormatError(
            f"{where}: a score of {score:g} is outside [0, 1]: scale it, or give null where it is missing"
        )
    return Result(name, score, str(line.cluster) or name, line.slices)


def digest_of(pairs: Sequence[Paired]) -> str:
    """SHA-256 over the items' ids, clusters and slices, by id: what was compared, whatever came of it."""
    return digest(sorted([pair.baseline.id, pair.baseline.cluster, list(pair.baseline.slices)] for pair in pairs))
