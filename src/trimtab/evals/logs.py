"""Logs of other tools, told apart by what they are: inspect_ai's .eval and .json, lm-eval's samples."""

from __future__ import annotations

from pathlib import Path

from trimtab.evals import inspect_logs, lm_eval_logs
from trimtab.evals.imported import Choice, Result

_LOOK = 4096


def is_log(path: Path) -> bool:
    """Whether `read` is for the file: by its name, and of JSON lines by the `doc_id` that lm-eval begins them with."""
    if path.suffix in (".eval", ".json"):
        return True
    if path.suffix != ".jsonl":
        return False
    try:
        with path.open("rb") as file:
            return b'{"doc_id"' in file.read(_LOOK).lstrip(b"\xef\xbb\xbf \r\n")[:16]
    except OSError:
        return False


def read(path: Path, choice: Choice | None = None) -> list[Result]:
    """The results in the log. FormatError where it cannot be read; MissingExtra for inspect's without `evals`."""
    if path.suffix in (".eval", ".json"):
        return inspect_logs.read(path, choice)
    return lm_eval_logs.read(path, choice)
