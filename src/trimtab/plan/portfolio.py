"""Levers together: savings do not add. What each adds on those before it, best value for its risk first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from trimtab.plan.worth import Agent, Use, Worth


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """One lever for one agent in its place. Shares are of the whole bill: `alone` what it would save by itself,
    `added` in [`low`, `high`] what it adds on those before it. `quality` is what it takes of the quality budget: the
    share of all answers that it may make worse."""

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


class Portfolio(msgspec.Struct, frozen=True, kw_only=True):
    """`saving` in [`low`, `high`] of the bill by all `chosen` together, `summed` what adding them up would claim;
    `seconds` of the time in models; `quality` the budget they take together; `left_out` (workflow, agent, lever, why)."""

    chosen: tuple[Chosen, ...]
    saving: float
    low: float
    high: float
    summed: float
    seconds: float
    quality: float
    nanodollars: int
    left_out: tuple[tuple[str, str, str, str], ...] = ()


def combine(worths: Sequence[Worth], uses: Mapping[Agent, Use], seed: int = 0) -> Portfolio:
    """The combination of all levers that are worth it or worth a try."""
    raise NotImplementedError
