"""Sums of money over calls that keep the unknown apart, and what kept answers and cheaper models saved."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from trimtab.deployment import Deployment
from trimtab.gateway.trial import SHADOW
from trimtab.money import PriceTable, Usage
from trimtab.trace import CACHE_TAG, SAVED_MS_TAG, SAVED_TAG, Call, EndState


class Spend(msgspec.Struct, frozen=True):
    """A sum over calls: `nanodollars` of those with a known price, `unpriced` counts the others."""

    nanodollars: int = 0
    priced: int = 0
    unpriced: int = 0

    @property
    def known(self) -> int | None:
        """The amount; None where calls were made and not one of them has a price."""
        return None if self.unpriced and not self.priced else self.nanodollars


class AgentUse(msgspec.Struct, frozen=True, kw_only=True):
    """One agent: `share` is of the known cost (None where that is 0); times are of complete calls."""

    agent: str
    calls: int
    spend: Spend
    share: float | None
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    model_seconds: float
    ttft_p50_ms: float | None
    latency_p50_ms: float | None
    latency_p90_ms: float | None


class Repeats(msgspec.Struct, frozen=True):
    """Requests whose model, messages and tools were all seen before; `across` were first seen in another session."""

    requests: int
    across: int
    spend: Spend


class Saved(msgspec.Struct, frozen=True):
    """Calls that were answered from what was kept, of all of them; what they would have cost as far as a price was
    known (`unpriced` counts the others), and the milliseconds that the calls they stand for had taken."""

    hits: int = 0
    calls: int = 0
    nanodollars: int = 0
    unpriced: int = 0
    ms: int = 0


class Moved(msgspec.Struct, frozen=True):
    """Calls that another price was paid for than the deployment before would have: what their tokens would have cost
    there, less what they did. `unpriced` are those whose price is unknown on either side."""

    calls: int = 0
    nanodollars: int = 0
    unpriced: int = 0


class EndUse(msgspec.Struct, frozen=True):
    """Calls that ended in one state other than complete."""

    end: EndState
    calls: int
    spend: Spend


def spend(calls: Iterable[Call]) -> Spend:
    """What `calls` cost together."""
    costs = [call.cost_nanodollars for call in calls]
    priced = [cost for cost in costs if cost is not None]
    return Spend(sum(priced), len(priced), len(costs) - len(priced))


def saved(calls: Iterable[Call]) -> Saved:
    """What kept answers saved, by the tags of the calls."""
    found = Hits()
    for call in calls:
        found.add(call)
    return found.saved()


class Hits:
    """`saved` of calls as they come. What a rollout asked a second time saved nobody anything."""

    def __init__(self) -> None:
        self._calls = self._hits = self._nanodollars = self._unpriced = self._ms = 0

    def add(self, call: Call) -> None:
        if SHADOW in call.tags:
            return
        self._calls += 1
        if call.tags.get(CACHE_TAG) == "hit":
            self._hits += 1
            self._unpriced += SAVED_TAG not in call.tags
            self._nanodollars += _whole(call.tags.get(SAVED_TAG, ""))
            self._ms += _whole(call.tags.get(SAVED_MS_TAG, ""))

    def saved(self) -> Saved:
        return Saved(self._hits, self._calls, self._nanodollars, self._unpriced, self._ms)


class Moves:
    """`Moved` of calls as they come, against the deployment `before`; what a rollout asked a second time is no part of
    it. Of a kept answer it is what `Hits`, by the prices of when it was given, does not have."""

    def __init__(self, before: Deployment, prices: PriceTable) -> None:
        self._before, self._prices = before, prices
        self._calls = self._nanodollars = self._unpriced = 0

    def add(self, call: Call) -> None:
        endpoint = self._before.endpoint_for(call.request_model)
        if SHADOW in call.tags or endpoint is None or call.usage == Usage():
            return
        once = self._prices.cost(endpoint.price_name or call.request_model, call.usage)
        paid = call.cost_nanodollars
        if call.tags.get(CACHE_TAG) == "hit":
            paid = _whole(call.tags[SAVED_TAG]) if SAVED_TAG in call.tags else None
        if once is None or paid is None:
            self._unpriced += 1
        elif once.nanodollars != paid:
            self._calls += 1
            self._nanodollars += once.nanodollars - paid

    def moved(self) -> Moved:
        return Moved(self._calls, self._nanodollars, self._unpriced)


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
