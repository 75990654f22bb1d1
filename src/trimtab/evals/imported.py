"""Results that another tool made: one score an item, paired with those of the baseline. Knows no tool."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from trimtab.errors import FormatError

_SHOWN = 3


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item's score in [0, 1], None where it is missing. `cluster` is what the item belongs with; `content` is a
    hash of what was asked, '' where the tool does not say."""

    id: str
    score: float | None
    cluster: str
    slices: tuple[str, ...] = ()
    content: str = ""


class Choice(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to take of a log. `metric`: inspect's scorer or lm-eval's metric, where there are several; `part`: of a
    scorer's table the key, or lm-eval's filter; `cluster` and `slice_`: keys of inspect's metadata or lm-eval's
    document, whose values are the item's cluster and slice."""

    metric: str = ""
    part: str = ""
    cluster: str = ""
    slice_: str = ""


class Paired(NamedTuple):
    """One item on both sides."""

    baseline: Result
    candidate: Result


def paired(baseline: Sequence[Result], candidate: Sequence[Result]) -> list[Paired]:
    """Both sides' results item by item, in the baseline's order.

    FormatError: an id that is there twice or on one side alone, or an item that was another question on either side.
    """
    before, after = by_id(baseline, "baseline"), by_id(candidate, "candidate")
    for held, others, name in ((before, after, "candidate"), (after, before, "baseline")):
        lacking = [item for item in held if item not in others]
        if lacking:
            some = ", ".join(lacking[:_SHOWN]) + ("…" if len(lacking) > _SHOWN else "")
            raise FormatError(f"the {name} lacks {len(lacking)} items of the other side ({some}): run both on all")
    for item, result in before.items():
        check_same(result, after[item])
    return [Paired(result, after[item]) for item, result in before.items()]


def by_id(results: Iterable[Result], name: str) -> dict[str, Result]:
    """The results by their ids. FormatError for one that is there twice, or for none at all."""
    found: dict[str, Result] = {}
    for result in results:
        if result.id in found:
            raise FormatError(f"the {name} has the item '{result.id}' twice: choose one run, or one epoch each")
        found[result.id] = result
    if not found:
        raise FormatError(f"the {name} has no results: name the log of a run that has ended")
    return found


def check_same(one: Result, other: Result) -> None:
    """FormatError where the two are not results of one question."""
    if one.content and other.content and one.content != other.content:
        raise FormatError(f"item '{one.id}' is another question on either side: run both on the same version")
    if (one.cluster, one.slices) != (other.cluster, other.slices):
        raise FormatError(f"item '{one.id}' is in another cluster or slice on the other side: they are two items")


def lines(results: Iterable[Result]) -> str:
    """JSON lines with id, score, cluster and slices: what a verdict on imported results reads."""
    kept = ({"id": each.id, "score": each.score, "cluster": each.cluster, "slices": each.slices} for each in results)
    return "".join(msgspec.json.encode(each).decode() + "\n" for each in kept)


def share(value: Any, where: str) -> float | None:
    """A score as a tool gives it, as a number in [0, 1]; None for what stands for 'not scored': null and NaN.

    FormatError for anything else: a score is never guessed.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | int | float) and 0 <= value <= 1:
        return float(value)
    fix = "name a metric that is a share, or scale it"
    raise FormatError(f"{where}: the score {' '.join(repr(value).split())[:60]} is not in [0, 1]: {fix}")
