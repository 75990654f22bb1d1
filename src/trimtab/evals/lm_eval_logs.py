"""The samples that lm-eval writes with --log_samples (`samples_TASK_DATE.jsonl`), read as results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.evals.imported import Choice, Result, share


class _Line(msgspec.Struct):
    """What is read of a line; its metrics stand beside these, under the names in `metrics`."""

    doc_id: int
    metrics: list[str]
    filter: str = "none"
    doc: Any = None
    doc_hash: str = ""
    prompt_hash: str = ""
    target_hash: str = ""


def read(path: Path, choice: Choice | None = None) -> list[Result]:
    """The results in the file at `path`. FormatError names the line, or the metrics there are to choose from."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise FormatError(f"cannot read the samples {path}: {error}") from error
    return parse(text, str(path), choice)


def parse(text: str, where: str, choice: Choice | None = None) -> list[Result]:
    """The results that `text` holds, in its order. FormatError as of `read`."""
    choice = choice or Choice()
    told = list(_lines(text, where))
    if not told:
        raise FormatError(f"{where} has no samples: run lm-eval with --log_samples")
    wanted = choice.part or _only(sorted({line.filter for _, line, _ in told}), f"{where}: filters")
    taken = [each for each in told if each[1].filter == wanted]
    if not taken:
        raise FormatError(f"{where}: no sample has the filter '{wanted}': see the key 'filter' in it")
    metric = choice.metric or _only(taken[0][1].metrics, f"{where}: metrics")
    return [_result(line, held, choice, metric, f"{where}:{number}") for number, line, held in taken]


def _lines(text: str, where: str) -> Iterator[tuple[int, _Line, dict[str, Any]]]:
    """Line number, what is known of the line, and the whole of it."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            # lm-eval writes NaN, which is Python's and not JSON's.
            held = msgspec.convert(json.loads(line), dict[str, Any])
            told = msgspec.convert(held, _Line)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{where}:{number}: no sample of lm-eval: {error}") from error
        yield number, told, held


def _only(names: list[str], what: str) -> str:
    if len(names) != 1:
        raise FormatError(f"{what} are {', '.join(names) or 'none'}: name the one to take")
    return names[0]


def _result(line: _Line, held: dict[str, Any], choice: Choice, metric: str, where: str) -> Result:
    if metric not in line.metrics or metric not in held:
        raise FormatError(f"{where}: no metric '{metric}': there are {', '.join(line.metrics) or 'none'}")
    name = str(line.doc_id)
    return Result(
        id=name,
        score=share(held[metric], where),
        cluster=_of_document(line, choice.cluster, where) or name,
        slices=(_of_document(line, choice.slice_, where),) if choice.slice_ else (),
        # Another prompt is another question; the few-shot examples are in its hash.
        content="-".join((line.doc_hash, line.prompt_hash, line.target_hash)).strip("-"),
    )


def _of_document(line: _Line, key: str, where: str) -> str:
    if not key:
        return ""
    value = line.doc.get(key) if isinstance(line.doc, dict) else None
    if not isinstance(value, str | int) or value == "":
        raise FormatError(f"{where}: the document has no '{key}': name another key, or none")
    return str(value)
