"""Calibration: how often a judge is right, held against answers that people labelled. Knows no margin and no gate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import FormatError, TrimtabError
from trimtab.evals.answer import Answer
from trimtab.evals.judge import Judge
from trimtab.evals.suite import Item, unencodable
from trimtab.stats.intervals import Interval, clopper_pearson

AT_ONCE = 8


class Label(msgspec.Struct, frozen=True):
    """An answer to an item, and whether it is right as a person sees it."""

    item: Item
    answer: Answer
    right: bool


class Share(msgspec.Struct, frozen=True):
    """`good` of `n`, with Clopper and Pearson's exact interval [`low`, `high`]; [0, 1] where n = 0."""

    good: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        return self.good / self.n if self.n else None

    @property
    def interval(self) -> Interval:
        return Interval(self.low, self.high)


class Accuracy(msgspec.Struct, frozen=True):
    """`sensitivity`: of the answers that are right, those that the judge calls right; `specificity`: of those that are
    wrong, those that it calls wrong. `missing`: judgements that could not be had, in neither."""

    sensitivity: Share
    specificity: Share
    missing: int = 0

    @property
    def youden(self) -> float | None:
        """Sensitivity + specificity − 1: the part of a true difference that is left in judged units. None where one of
        them was not seen. W. J. Youden (1950), Cancer 3:32-35."""
        sens, spec = self.sensitivity.value, self.specificity.value
        return None if sens is None or spec is None else sens + spec - 1


class Calibration(msgspec.Struct, frozen=True):
    """One version of a judge against labels: over all, and in each slice."""

    judge: str
    confidence: float
    overall: Accuracy
    slices: dict[str, Accuracy] = {}

    def of_slice(self, slice_: str, least: int = 30) -> Accuracy:
        """The slice's own accuracy where it has at least `least` labels of either kind, else that over all."""
        own = self.slices.get(slice_)
        enough = own is not None and min(own.sensitivity.n, own.specificity.n) >= least
        return own if own is not None and enough else self.overall


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a labelled set: an item of a suite, an answer as text or as an object, and the label."""

    id: str | int
    body: dict[str, Any]
    answer: str | Answer
    right: bool
    cluster: str | int = ""
    expected: Any = None
    slices: tuple[str, ...] = ()
    judge: str = ""

    def label(self) -> Label:
        name = str(self.id)
        item = Item(name, str(self.cluster) or name, self.body, self.expected, self.slices, self.judge)
        return Label(item, Answer(self.answer) if isinstance(self.answer, str) else self.answer, self.right)


def read(path: Path) -> list[Label]:
    """The labels in the JSON lines at `path`; an item may have several answers. FormatError names the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise FormatError(f"cannot read the labels {path}: {error}") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> list[Label]:
    """The labels that `text` holds. FormatError as of `read`."""
    labels = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            told = msgspec.json.decode(line.encode(), type=_Line)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            fix = "a line is an item with 'answer' and 'right', see docs/evals.md"
            raise FormatError(f"{where}:{number}: {error}: {fix}") from error
        if unfit := unencodable([told.body, told.expected, told.slices]):
            raise FormatError(f"{where}:{number}: the item holds {unfit}: write it otherwise")
        labels.append(told.label())
    if not labels:
        raise FormatError(f"{where} has no labels: write one JSON object a line")
    return labels


async def measure(judge: Judge, labels: Sequence[Label], confidence: float = 0.95) -> Calibration:
    """Have `judge` judge every labelled answer. Judges that fail for one count it as missing."""
    waiting = asyncio.Semaphore(AT_ONCE)

    async def judged(label: Label) -> float | None:
        async with waiting:
            try:
                return (await judge.score(label.item, label.answer)).score
            except TrimtabError:
                return None

    scores = await asyncio.gather(*(judged(label) for label in labels))
    return held_against(judge.version, list(zip(labels, scores, strict=True)), confidence)


def held_against(judge: str, scored: Sequence[tuple[Label, float | None]], confidence: float = 0.95) -> Calibration:
    """The calibration of the judge's version `judge` from its `scores`; from a half on a score says right.

    ValueError: a confidence outside (0, 1).
    """
    slices = sorted({each for label, _ in scored for each in label.item.slices})
    by_slice = {each: [pair for pair in scored if each in pair[0].item.slices] for each in slices}
    return Calibration(
        judge,
        confidence,
        _accuracy(scored, confidence),
        {each: _accuracy(some, confidence) for each, some in by_slice.items()},
    )


def _accuracy(scored: Iterable[tuple[Label, float | None]], confidence: float) -> Accuracy:
    said = [(label.right, None if score is None else score >= 0.5) for label, score in scored]
    return Accuracy(
        sensitivity=_share([called for right, called in said if right and called is not None], confidence),
        specificity=_share([not called for right, called in said if not right and called is not None], confidence),
        missing=sum(called is None for _, called in said),
    )


def _share(hits: Sequence[bool], confidence: float) -> Share:
    interval = clopper_pearson(sum(hits), len(hits), confidence)
    return Share(sum(hits), len(hits), interval.low, interval.high)
