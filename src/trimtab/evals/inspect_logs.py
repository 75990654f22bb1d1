"""Logs of inspect_ai (.eval, .json), read as results. Needs the extra `evals`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import FormatError, require
from trimtab.evals.imported import Choice, Result, share
from trimtab.evals.suite import digest_of

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.log import EvalLog, EvalSample

# The letters of inspect's own scale, and the words that its own conversion knows.
_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
# What a verdict does not need, and what makes logs large.
_LEFT_OUT = {"events", "store", "attachments", "timelines"}


def read(path: Path, choice: Choice | None = None) -> list[Result]:
    """The results in the log at `path`, samples in its order, epochs as items of one cluster.

    FormatError: no log, a run that did not end well, several scorers to choose from, a score that is no share.
    """
    require("evals", "inspect_ai")
    from inspect_ai.log import read_eval_log

    try:
        log = read_eval_log(str(path), exclude_fields=set(_LEFT_OUT))
    except _unreadable() as error:
        reason = " ".join(str(error).split())[:160]
        raise FormatError(f"cannot read the log {path}: {type(error).__name__}: {reason}") from error
    return of(log, choice)


def _unreadable() -> tuple[type[Exception], ...]:
    """What inspect's readers of zip, Zstandard, JSON and of its own types raise over a file that is none of theirs."""
    import struct
    import zipfile
    import zlib

    from ijson.common import JSONError
    from zstandard import ZstdError

    words = (ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError)
    return (*words, AssertionError, struct.error, zipfile.BadZipFile, zlib.error, JSONError, ZstdError)


def of(log: EvalLog, choice: Choice | None = None) -> list[Result]:
    """The results of a log. FormatError as of `read`."""
    where, choice = log.location or log.eval.task, choice or Choice()
    if log.status != "success":
        reason = log.error.message if log.error else "it has not ended"
        raise FormatError(f"{where}: the run is no success ({' '.join(reason.split())[:120]}): run it again")
    samples = log.samples or []
    scorer = choice.metric or _only_scorer(samples, where)
    return [_result(sample, choice, scorer, where) for sample in samples]


def item_of(sample_id: str | int | None, epoch: int) -> str:
    """The id of a sample in an epoch: the first is the sample itself."""
    return str(sample_id) if epoch == 1 else f"{sample_id}#{epoch}"


def content_of(sample: Sample | EvalSample) -> str:
    """A hash of what is asked and what is expected: the ids that inspect draws for messages are not in it."""
    asked = sample.input if isinstance(sample.input, str) else [[each.role, each.text] for each in sample.input]
    return digest_of([asked, sample.choices, sample.target])[:16]


def score_of(value: Any, choice: Choice, where: str) -> float | None:
    """A score's value as a number in [0, 1], None where it is missing. FormatError for anything else."""
    if isinstance(value, Mapping):
        if choice.part not in value:
            raise FormatError(f"{where}: the score is a table of {', '.join(map(str, value))}: name one of these")
        value = value[choice.part]
    return share(_LETTERS.get(value, value) if isinstance(value, str) else value, where)


def place_of(metadata: Mapping[str, Any] | None, key: str, where: str) -> str:
    """What the metadata says under `key`; '' for no key. FormatError where it says nothing."""
    if not key:
        return ""
    value = (metadata or {}).get(key)
    if not isinstance(value, str | int) or value == "":
        raise FormatError(f"{where}: its metadata has no '{key}': name another key, or none")
    return str(value)


def _only_scorer(samples: Iterable[EvalSample], where: str) -> str:
    """'' where nothing was scored."""
    names: list[str] = sorted({name for sample in samples for name in sample.scores or {}})
    if len(names) > 1:
        raise FormatError(f"{where}: the scorers are {', '.join(names)}: name the one to take")
    return names[0] if names else ""


def _result(sample: EvalSample, choice: Choice, scorer: str, where: str) -> Result:
    named = f"{where}, sample {sample.id}"
    score = (sample.scores or {}).get(scorer)
    slice_ = place_of(sample.metadata, choice.slice_, named)
    return Result(
        id=item_of(sample.id, sample.epoch),
        # A sample that failed may have been scored on the half of it: that is no score of an answer.
        score=None if score is None or sample.error else score_of(score.value, choice, named),
        cluster=place_of(sample.metadata, choice.cluster, named) or str(sample.id),
        slices=(slice_,) if slice_ else (),
        content=content_of(sample),
    )
