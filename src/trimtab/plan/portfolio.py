"""Levers together: savings do not add. What each adds on those before it, best value for its risk first."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import msgspec

from trimtab.plan.worth import Agent, Evidence, Use, Word, Worth
from trimtab.stats.quantiles import quantile

DRAWS = 500
# Who answers in the old model's place: of an agent's calls only one of these can.
INSTEAD = frozenset(("label head", "smaller model", "tuned small model"))
# What answers a share of the calls by itself and leaves the others as they were; the rest makes all of them cheaper.
ANSWERING = frozenset(("cache", "label head"))
# Beside the quality that a lever may cost by its setting: what its evidence may be wrong by.
DOUBT = {Evidence.MEASURED: 0.01, Evidence.COUNTED: 0.01, Evidence.CEILING: 0.1}


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """One lever for one agent in its place. Shares are of the whole bill: `alone` what it would save by itself,
    `added` in [`low`, `high`] what it adds on those before it; `seconds` is what it adds of the time in models.
    `quality` is what it takes of the quality budget: the share of all answers that it may make worse."""

    workflow: str
    agent: str
    lever: str
    alone: float
    added: float
    low: float
    high: float
    seconds: float
    quality: float
    risk: str
    evidence: Evidence = Evidence.CEILING


class Portfolio(msgspec.Struct, frozen=True, kw_only=True):
    """`saving` in [`low`, `high`] of the bill by all `chosen` together, `summed` what adding them up would claim, and
    `grounded` the part that rests on calls played or counted, not on upper bounds; `seconds` of the time in models;
    `quality` the budget they take together. `left_out`: (workflow, agent, lever, why)."""

    chosen: tuple[Chosen, ...]
    saving: float
    low: float
    high: float
    summed: float
    seconds: float
    quality: float
    nanodollars: int
    grounded: float = 0.0
    left_out: tuple[tuple[str, str, str, str], ...] = ()


class _State:
    """What is left of each agent's cost, seconds and answers, by draw; 1 at the beginning.

    `kept` are the calls that no answering lever has taken. A later one takes of them its own share at best (what it
    can answer does not depend on what was taken), and at worst only what it has beyond the others' share, for easy
    calls are easy for all; a uniform draw lies between.
    """

    def __init__(self, agents: Sequence[Agent], seed: int) -> None:
        self.cost = {agent: [1.0] * DRAWS for agent in agents}
        self.seconds = dict.fromkeys(agents, 1.0)
        self.kept = {agent: [1.0] * DRAWS for agent in agents}
        self.answered = dict.fromkeys(agents, 1.0)
        chance = random.Random(seed)
        # The first draw is the estimates themselves, half-way between the best and the worst.
        self.overlap = [0.5, *(chance.random() for _ in range(DRAWS - 1))]

    def added(self, worth: Worth, draws: Sequence[float]) -> list[float]:
        """What it takes of the agent's cost, by draw."""
        agent = worth.workflow, worth.agent
        if worth.lever not in ANSWERING:
            return [cost * share for cost, share in zip(self.cost[agent], draws, strict=True)]
        found = []
        for cost, kept, share, overlap in zip(self.cost[agent], self.kept[agent], draws, self.overlap, strict=True):
            beyond = max(0.0, share - (1 - kept))
            taken = overlap * beyond + (1 - overlap) * share * kept
            found.append(cost * taken / kept if kept > 0 else 0.0)
        return found

    def take(self, worth: Worth, added: Sequence[float]) -> tuple[float, float]:
        """Put it in its place; the seconds and the quality that it takes of the agent's."""
        agent = worth.workflow, worth.agent
        before = self.cost[agent]
        self.cost[agent] = [max(0.0, cost - less) for cost, less in zip(before, added, strict=True)]
        seconds = self.seconds[agent] * worth.seconds
        self.seconds[agent] -= seconds
        quality = worth.quality * self.answered[agent]
        if worth.lever in ANSWERING:
            left = [after / cost if cost > 0 else 0.0 for after, cost in zip(self.cost[agent], before, strict=True)]
            self.kept[agent] = [kept * share for kept, share in zip(self.kept[agent], left, strict=True)]
            self.answered[agent] = self.kept[agent][0]
        return seconds, quality


def combine(worths: Sequence[Worth], uses: Mapping[Agent, Use], seed: int = 0) -> Portfolio:
    """The combination of all levers that are worth it or worth a try.

    Each next one is that with the most money added, for its risk: the quality it may cost and the doubt in its
    evidence; those that save seconds alone come last. Values follow from the estimates themselves; for the intervals
    each is drawn 500 times from the triangle (low, saving, high), and the middle 95 % is given.
    """
    agents = sorted({(worth.workflow, worth.agent) for worth in worths})
    bill = sum(use.nanodollars for use in uses.values())
    time = sum(use.seconds for use in uses.values())
    calls = sum(use.calls for use in uses.values())
    open_ = [w for w in worths if w.word in (Word.WORTH, Word.TRY) and (w.workflow, w.agent) in uses]
    draws = {id(worth): _draws(worth, seed + place) for place, worth in enumerate(open_)}
    state, chosen, left_out = _State(agents, seed), list[Chosen](), list[tuple[str, str, str, str]]()
    totals = [0.0] * DRAWS
    grounded = 0.0
    while open_:
        best = max(open_, key=lambda worth: _value(worth, state, draws[id(worth)], uses, bill))
        open_.remove(best)
        agent = best.workflow, best.agent
        use = uses[agent]
        share = use.nanodollars / bill if bill else 0.0
        added = state.added(best, draws[id(best)])
        seconds, quality = state.take(best, added)
        its = [less * share for less in added]
        totals = [total + less for total, less in zip(totals, its, strict=True)]
        grounded += its[0] if best.evidence is not Evidence.CEILING else 0.0
        chosen.append(
            Chosen(
                workflow=best.workflow,
                agent=best.agent,
                lever=best.lever,
                alone=best.saving * share,
                added=its[0],
                low=quantile(its, 0.025) or 0.0,
                high=quantile(its, 0.975) or 0.0,
                seconds=seconds * use.seconds / time if time else 0.0,
                quality=quality * use.calls / calls if calls else 0.0,
                risk=best.risk,
                evidence=best.evidence,
            )
        )
        if best.lever in INSTEAD:
            gone = [w for w in open_ if w.lever in INSTEAD and (w.workflow, w.agent) == agent]
            open_ = [worth for worth in open_ if worth not in gone]
            left_out += [
                (*agent, worth.lever, f"{best.lever} answers in the old model's place already") for worth in gone
            ]
    saving = totals[0]
    return Portfolio(
        chosen=tuple(chosen),
        saving=saving,
        low=quantile(totals, 0.025) or 0.0,
        high=quantile(totals, 0.975) or 0.0,
        summed=sum(one.alone for one in chosen),
        seconds=sum(one.seconds for one in chosen),
        quality=sum(one.quality for one in chosen),
        nanodollars=round(saving * bill),
        grounded=grounded,
        left_out=tuple(left_out),
    )


def _draws(worth: Worth, seed: int) -> list[float]:
    chance = random.Random(seed)
    low, high = max(0.0, min(worth.low, worth.saving)), min(1.0, max(worth.high, worth.saving))
    point = min(max(worth.saving, low), high)
    return [point, *(chance.triangular(low, high, point) for _ in range(DRAWS - 1))]


def _value(
    worth: Worth, state: _State, draws: Sequence[float], uses: Mapping[Agent, Use], bill: int
) -> tuple[float, float, str]:
    """Money for its risk, then seconds."""
    agent = worth.workflow, worth.agent
    share = uses[agent].nanodollars / bill if bill else 0.0
    risk = worth.quality + DOUBT[worth.evidence]
    money = share * state.added(worth, draws)[0]
    return money / risk, uses[agent].seconds * state.seconds[agent] * worth.seconds / risk, worth.lever
