"""A glance: what the cache would have made of recorded calls, by its policy alone, in milliseconds a call.

Beside the pilot it leaves out: lifetimes, memory, admission, and answers that are the same in other words (only equal
words count as the same). So it errs on the side of fewer hits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trimtab.levers.cache import comparator, replay
from trimtab.levers.cache.eligibility import is_acting
from trimtab.levers.cache.options import Options
from trimtab.levers.cache.partition import digest
from trimtab.levers.cache.policy import Policy, Setting
from trimtab.levers.cache.recorded import Recorded

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Embed = Callable[[Sequence[str]], Array]


class Glance(NamedTuple):
    """Of each call in order: `tier` of its hit ('' for none) and whether the answer was `wrong`; `eligible` ones were
    looked up at all. `passed` says of the others why not. `repeats`: of the later half, the share that was eligible and
    whose answer an earlier call had had, which is the most that could have hit."""

    tier: tuple[str, ...]
    wrong: tuple[bool, ...]
    eligible: tuple[bool, ...]
    passed: tuple[str, ...]
    repeats: float


def glance(calls: Sequence[Recorded], options: Options, embed: Embed | None) -> Glance:
    """Play one agent's `calls`, which are in order; without `embed` the very same questions alone can hit."""
    tier, wrong = [""] * len(calls), [False] * len(calls)
    held: dict[str, str] = {}
    meant: list[int] = []
    for at, each in enumerate(calls):
        if isinstance(each.asked, str) or each.answer is None:
            continue
        said = _said(each)
        if (before := held.get(each.asked.key)) is not None:
            tier[at], wrong[at] = "exact", before != said
            continue
        held[each.asked.key] = said
        if each.asked.by_meaning and not is_acting(each.answer.calls):
            meant.append(at)
    if embed is not None and len(meant) > 1:
        for at, differs in _by_meaning(calls, meant, options, embed):
            tier[at], wrong[at] = "semantic", differs
    eligible = tuple(not isinstance(each.asked, str) for each in calls)
    passed = tuple(each.asked if isinstance(each.asked, str) else "" for each in calls)
    return Glance(tuple(tier), tuple(wrong), eligible, passed, _repeats(calls))


def _by_meaning(
    calls: Sequence[Recorded], meant: Sequence[int], options: Options, embed: Embed
) -> list[tuple[int, bool]]:
    """Places of the hits, and whether each was wrong. Only questions of one partition are near each other."""
    import numpy as np

    asked = [each.asked for at in meant if not isinstance((each := calls[at]).asked, str)]
    texts = [each.question.text for each in asked]
    _, answers = np.unique([_said(calls[at]) for at in meant], return_inverse=True)
    _, parts = np.unique([each.partition.digest for each in asked], return_inverse=True)
    vectors = np.ascontiguousarray(embed(texts), dtype=np.float32)
    places, cosines = replay.nearest(vectors)
    places[(places >= 0) & (parts[places] != parts[:, None])] = -1
    setting = Setting(alpha=options.alpha, explore=options.explore)
    policy = Policy(setting, options.seed, vectors.shape[1])
    found = replay.replay(replay.Stream(texts, answers, vectors), policy, (places, cosines))
    return [(meant[at], bool(differs)) for at, differs in zip(found.served.tolist(), found.wrong, strict=True)]


def _repeats(calls: Sequence[Recorded]) -> float:
    seen: set[str] = set()
    again = 0
    for at, each in enumerate(calls):
        if isinstance(each.asked, str) or each.answer is None:
            continue
        said = _said(each)
        again += at >= len(calls) // 2 and said in seen
        seen.add(said)
    return again / max(1, len(calls) - len(calls) // 2)


def _said(each: Recorded) -> str:
    """Equal for answers that say the same words and call the same tools."""
    answer = each.answer
    return "" if answer is None else digest([comparator.normal(answer.text), list(answer.calls)])
