"""What a judge is: it says of an answer how good it is, and why, and which version of it said so."""

from __future__ import annotations

from typing import Protocol

import msgspec

from trimtab.evals.answer import Answer
from trimtab.evals.suite import Item, JudgeSpec, digest_of


class Judgement(msgspec.Struct, frozen=True, omit_defaults=True):
    """`score` in [0, 1], 1 = best; None where the judge could not tell: that is missing, and never a middle score."""

    score: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.score is not None and not 0 <= self.score <= 1:  # NaN is refused by this as well
            raise ValueError(f"a score of {self.score} is outside [0, 1]")


class Judge(Protocol):
    """`version` changes with anything that may change a judgement."""

    @property
    def version(self) -> str: ...

    async def score(self, item: Item, answer: Answer) -> Judgement:
        """How good `answer` is. UpstreamError where the judge is itself a model that does not answer."""
        ...


def version_of(spec: JudgeSpec, revision: int) -> str:
    """`kind-revision-digest`: the digest is of the options, `revision` that of the code."""
    return f"{spec.kind}-{revision}-{digest_of(spec)[:12]}"


def right(reason: str = "") -> Judgement:
    return Judgement(1.0, reason)


def wrong(reason: str) -> Judgement:
    return Judgement(0.0, reason)


def missing(reason: str) -> Judgement:
    return Judgement(None, reason)
