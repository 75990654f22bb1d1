"""What each lever would be worth to each agent, by a first estimate: seconds, CPU only, no paid call."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trimtab.money import PriceTable
from trimtab.trace import Record

Agent = tuple[str, str]  # workflow, agent


class Word(enum.StrEnum):
    """The verdict of a first estimate. Only the gate proves that a lever does no harm."""

    WORTH = "worth it"
    TRY = "worth a try"
    NO = "no"
    SKIPPED = "not looked at"


class Evidence(enum.StrEnum):
    """What an estimate stands on."""

    MEASURED = "played on your calls"
    COUNTED = "counted in your calls"
    CEILING = "an upper bound"


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """One lever for one agent. `saving` in [`low`, `high`] is a share of the agent's cost, `seconds` in
    [`seconds_low`, `seconds_high`] of its time in models. `quality` is the most answers, as a share of the agent's,
    that it may make worse by its own setting. `missing` is the evidence that is missing, `breaks` what ends it."""

    workflow: str
    agent: str
    lever: str
    word: Word
    says: str
    n: int = 0
    saving: float = 0.0
    low: float = 0.0
    high: float = 0.0
    seconds: float = 0.0
    seconds_low: float = 0.0
    seconds_high: float = 0.0
    quality: float = 0.0
    evidence: Evidence = Evidence.CEILING
    missing: tuple[str, ...] = ()
    risk: str = ""
    effort: str = ""
    breaks: str = ""
    method: str = ""
    look: tuple[str, ...] = ()
    facts: dict[str, Any] = {}


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """All that an agent used, of which the calls given are a sample."""

    calls: int
    nanodollars: int
    seconds: float


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a first estimate may take: `cpu_s` seconds for the encoder and the cache's pilot, over all agents, the
    dearest first; `calls` of one agent at most; `alpha` is the share of wrong answers that a label head may give."""

    cpu_s: float = 6.0
    calls: int = 6000
    alpha: float = 0.05
    seed: int = 0


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """Every lever for every agent, dearest agent first; `cpu_s` is what it took, `notes` what was left out and why."""

    worths: tuple[Worth, ...]
    cpu_s: float
    notes: tuple[str, ...] = ()


def weigh(
    sample: Mapping[Agent, Sequence[Record]],
    prices: PriceTable,
    uses: Mapping[Agent, Use] | None = None,
    budget: Budget | None = None,
) -> Weighed:
    """The first estimate of every lever for every agent in `sample`; `uses` scales agents to all of their traffic."""
    raise NotImplementedError
