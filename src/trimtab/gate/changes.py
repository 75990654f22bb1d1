"""Changes: whether what is compared is still what it was when the run began."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from trimtab.errors import ConfigError, UpstreamError
from trimtab.evals.replay import Outcome
from trimtab.gate import sides
from trimtab.gate.conjunction import Pair
from trimtab.gate.sides import Side

# So many answers of another model, with none of the old one among them, are a change and no flutter; concurrency may
# mix the order a little.
_FEW, _MIXED = 5, 10


def under_way(pairs: Sequence[Pair]) -> str:
    """Which side's answers came from one model first and from another ever after, by what the answers say of
    themselves; empty for neither. Builds that alternate, as behind a provider's load balancer, are no change."""
    for name, outcomes in (
        ("baseline", [pair.baseline for pair in pairs]),
        ("candidate", [pair.candidate for pair in pairs]),
    ):
        if told := _switch(outcomes):
            return f"the {name} changed under the run: it answered as {told[0]}, then as {told[1]}"
    return ""


def _switch(outcomes: Iterable[Outcome]) -> tuple[str, str] | None:
    places: dict[str, dict[str, list[int]]] = {}
    for place, outcome in enumerate(outcomes):
        if outcome.fingerprint and " " not in outcome.fingerprint:
            endpoint = outcome.fingerprint.partition("/")[0]
            places.setdefault(endpoint, {}).setdefault(outcome.fingerprint, []).append(place)
    for seen in places.values():
        in_time = sorted(seen.items(), key=lambda held: held[1][0])
        for (before, early), (after, late) in itertools.pairwise(in_time):
            if min(len(early), len(late)) >= _FEW and early[-1] < late[0] + _MIXED:
                return before, after
    return None


async def since(both: tuple[Side, Side], models: dict[str, str]) -> str:
    """What is not as it was: a file that was edited, a model server that says something else of its model."""
    for name, side in zip(("baseline", "candidate"), both, strict=True):
        try:
            edited = sides.again(side) != side
        except ConfigError as error:
            return f"the {name} changed under the run: {error}"
        if edited:
            return f"the {name} changed under the run: {side.source} was edited"
        try:
            now = await sides.said_of_models(side)
        except UpstreamError as error:
            return f"the {name} cannot be asked whether it changed under the run: {error}"
        if now != models.get(name, now):
            return f"the {name} changed under the run: its server lists another model than before"
    return ""
