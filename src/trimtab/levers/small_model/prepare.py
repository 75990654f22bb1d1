"""Data from traffic: what of the traces may be learned from, counted at each step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from trimtab.arena.dealership import tasks
from trimtab.data import curate, dedup, split, synthesize
from trimtab.data.conversation import Conversation, Funnel, Pair, text_of
from trimtab.errors import ConfigError, FormatError
from trimtab.evals import suite
from trimtab.gateway.serving import share_of
from trimtab.levers.small_model.options import Options
from trimtab.trace import Trace

FEWEST = 20
_ARENA = "arena:"


class Prepared(msgspec.Struct, frozen=True):
    """What is trained on, what validates, the preference pairs, and how it came to be."""

    train: list[Conversation]
    validation: list[Conversation]
    pairs: list[Pair]
    funnel: Funnel

    @property
    def agents(self) -> tuple[str, ...]:
        return tuple(sorted({each.agent for each in self.train}))


def prepared(traces: Iterable[Trace], its: Options) -> Prepared:
    """FormatError where too little is left, with every step's count."""
    funnel = Funnel()
    found = curate.curated(traces, its.rules, funnel)
    if its.traffic < 1:
        found = funnel.keep(
            "share of traffic", found, lambda each: None if share_of(each.session) < its.traffic else "left out"
        )
    fresh = dedup.distinct(found, funnel, its.near)
    clean = dedup.decontaminated(fresh, gate_texts(its.gate), funnel) if its.gate else fresh
    train, validation = split.parted(clean, funnel, its.validation, its.seed)
    if len(train) < FEWEST:
        counts = "; ".join(_told(row) for row in funnel.rows)
        raise FormatError(f"{len(train)} conversations are left, {FEWEST} are needed: {counts}{_advice(funnel)}")
    pairs: list[Pair] = []
    if "dpo" in its.stages:
        pairs = synthesize.pairs(train, synthesize.Acts(acts=its.acts), funnel, its.seed)
    return Prepared(train, validation, pairs, funnel)


def permitted(traces: Iterable[Trace], its: Options) -> set[str]:
    """The ids of the calls that are complete, successful and licence-clean."""
    return {name for each in curate.curated(traces, its.rules, Funnel()) for name in each.call_ids}


def _told(row: dict[str, Any]) -> str:
    why = f" ({row['left out']})" if row["left out"] else ""
    return f"{row['step']} {row['in']} → {row['out']}{why}"


def _advice(funnel: Funnel) -> str:
    """What to type next, by the step that took the most."""
    worst = max(funnel.counts, key=lambda count: count.came - count.went)
    if worst.came == 0:
        return "; record calls with store.record = 'full' first"
    if worst.step == "licence":
        return "; declare the endpoint's class, as in --option 'licences={teacher=\"own\"}'"
    if worst.step == "complete" and "no bodies" in worst.why:
        return "; record with store.record = 'full'"
    return "; record more"


def gate_texts(suites: Iterable[str]) -> list[str]:
    """What the gate's items say, for comparison: first user messages and whole texts. ConfigError, FormatError."""
    texts = []
    for name in suites:
        if name.startswith(_ARENA):
            texts += _arena(name)
            continue
        if not Path(name).is_file():
            raise ConfigError(f"option gate names '{name}', no suite's file: write FILE.jsonl or arena:test:500")
        for item in suite.read(Path(name)).items:
            messages = item.body.get("messages")
            spoken = [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
            texts += [text_of(m) for m in spoken if m.get("role") == "user"][:1]
            texts.append("\n".join(f"{m.get('role')}: {text_of(m)}" for m in spoken if m.get("role") != "system"))
    return texts


def _arena(name: str) -> list[str]:
    words = name.split(":")
    try:
        drawn = tasks.draw(words[1], int((words[2:] or ["500"])[0]), int((words[3:] or ["0"])[0]))
    except ValueError as error:
        raise ConfigError(f"'{name}' is no suite of the arena: write it like arena:test:500:0") from error
    return [task.enter()[1].open() for task in drawn]
