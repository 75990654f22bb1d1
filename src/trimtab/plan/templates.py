"""Prompt templates, mined: the constant text of an agent's prompts against what a program fills in. The sample's.

A prompt here is the system prompt and the first user message. The first texts are aligned pair by pair (longest
matching blocks of words); what all of a group share in order is constant, the rest are slots. Later texts join the
group whose constant text they hold in that order.
"""

from __future__ import annotations

import re
from collections import defaultdict
from difflib import SequenceMatcher
from itertools import accumulate

from trimtab.plan.evidence import Clusters, Evidence, dearest, share_figure, spend_of
from trimtab.plan.facts import masked
from trimtab.plan.findings import Template
from trimtab.plan.messages import common
from trimtab.plan.timeline import Exchange
from trimtab.stats.quantiles import quantile
from trimtab.trace import EndState

SLOT = "…"
# Texts are cut to so many characters, and so many alignments are made for one agent.
_LENGTH, _ALIGNMENTS, _GROUPS, _ROWS = 6_000, 24, 64, 12
_WORDS = 400  # that are aligned, after what both begin with
# Two texts that share less of the longer one are of two templates.
_ALIKE = 0.5
_SHOWN = 400
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


class _Group:
    """Texts of one template: `chunks` are constant and stand in this order."""

    def __init__(self, text: str) -> None:
        self.chunks = [text]
        self.opens, self.closes = True, True  # whether the first chunk begins and the last one ends every text
        self.its: list[tuple[int, Exchange]] = []
        self.texts: set[int] = set()
        self.length = 0

    @property
    def constant(self) -> str:
        return "".join(self.chunks)

    def fits(self, text: str) -> bool:
        if self.opens and not text.startswith(self.chunks[0]):
            return False
        at = 0
        for chunk in self.chunks:
            at = text.find(chunk, at)
            if at < 0:
                return False
            at += len(chunk)
        if len(self.chunks) == 1 and len(self.constant) < _ALIKE * len(text):
            return False
        self.closes = self.closes and at == len(text)
        return True

    def is_near(self, text: str) -> bool:
        """Whether they share so many different words that it is worth while to align them."""
        own, other = (set(_WORD.findall(each)) for each in (self.constant, text))
        return 2 * len(own & other) >= len(own)

    def merge(self, text: str) -> bool:
        """Take `text` in where enough is shared; the chunks shrink to what is."""
        known = SLOT.join(self.chunks)
        matched = _matched(known, text)
        kept = [chunk for chunk, _, _ in matched if len(chunk.strip()) > 1]
        if sum(map(len, kept)) < _ALIKE * max(len(text), len(self.constant)):
            return False
        pieces = [part for chunk in kept for part in chunk.split(SLOT) if part.strip()]
        self.opens = self.opens and bool(matched) and matched[0][1] == matched[0][2] == 0
        last, at_one, at_other = matched[-1]
        ended = at_one + len(last) == len(known) and at_other + len(last) == len(text)
        self.closes = self.closes and ended
        self.chunks = pieces
        return True

    def shown(self) -> str:
        text = SLOT.join(self.chunks)
        return ("" if self.opens else SLOT) + text + ("" if self.closes else SLOT)


def _matched(one: str, other: str) -> list[tuple[str, int, int]]:
    """Blocks of words that both have, in order, with their places; common ends first, which is quick."""
    head = common(one, other)
    while head and head < len(one) and one[head - 1].isalnum():
        head -= 1
    rest_one, rest_other = one[head:], other[head:]
    a, b = _WORD.findall(rest_one)[:_WORDS], _WORD.findall(rest_other)[:_WORDS]
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    found = [(one[:head], 0, 0)] if head else []
    at_a, at_b = _starts(a, head), _starts(b, head)
    for block in matcher.get_matching_blocks():
        if block.size:
            found.append(("".join(a[block.a : block.a + block.size]), at_a[block.a], at_b[block.b]))
    return found


def _starts(words: list[str], first: int) -> list[int]:
    """Where each word begins."""
    return list(accumulate(map(len, words), initial=first))


def mined(evidence: Evidence) -> tuple[Template, ...]:
    """The templates of each agent, dearest first."""
    rows: list[Template] = []
    priced = sum(one.call.cost_nanodollars or 0 for session in evidence.sessions for one in session.exchanges)
    every = [(session.key, one) for session in evidence.sessions for one in session.exchanges]
    totals: dict[int, float] = defaultdict(float)
    for key, one in every:
        totals[key] += (one.call.cost_nanodollars or 0) if priced else 1
    for (workflow, agent), its in evidence.agents().items():
        for group in _groups(its)[:_ROWS]:
            rows.append(_row((workflow, agent), group, totals, bool(priced)))
    return tuple(sorted(rows, key=lambda row: (-row.spend.nanodollars, -row.calls)))


def _groups(its: list[tuple[int, Exchange]]) -> list[_Group]:
    groups: list[_Group] = []
    loose = _Group("")
    of_text: dict[str, _Group] = {}
    left = _ALIGNMENTS
    for key, one in its:
        if not one.pieces:
            continue
        text = _prompt(one)
        group = of_text.get(text)
        if group is None:
            group = next((each for each in groups if each.fits(text)), None)
            if group is None and left > 0:
                for each in groups[:8]:
                    if not each.is_near(text):
                        continue
                    left -= 1
                    if each.merge(text):
                        group = each
                        break
            if group is None and len(groups) < _GROUPS:
                group = _Group(text)
                groups.append(group)
            group = of_text[text] = group or loose
        group.its.append((key, one))
        group.length += len(text)
        group.texts.add(hash(text))
    return _kept(groups, loose)


def _kept(groups: list[_Group], loose: _Group) -> list[_Group]:
    """Groups with several texts or calls; the rest together have no template."""
    kept = []
    for group in groups:
        if len(group.its) > 1:
            kept.append(group)
        else:
            loose.its += group.its
            loose.texts |= group.texts
            loose.length += group.length
    if loose.its:
        loose.chunks = []
        kept.append(loose)
    return sorted(kept, key=lambda group: -sum(one.call.cost_nanodollars or 1 for _, one in group.its))


def _prompt(one: Exchange) -> str:
    system = [piece.text for piece in one.pieces if piece.role == "system"]
    asked = next((piece.text for piece in one.pieces if piece.role == "user"), "")
    return "\n\n".join([*system, asked])[:_LENGTH]


def _row(who: tuple[str, str], group: _Group, totals: dict[int, float], priced: bool) -> Template:
    calls = [one.call for _, one in group.its]
    clusters = Clusters()
    for key, total in totals.items():
        clusters.add(key, 0.0, total)
    for key, one in group.its:
        clusters.add(key, (one.call.cost_nanodollars or 0) if priced else 1, 0.0)
    complete = [call.duration_ms for call in calls if call.end is EndState.COMPLETE]
    text = group.shown() if group.chunks else ""
    return Template(
        workflow=who[0],
        agent=who[1],
        text=masked(text)[:_SHOWN],
        slots=text.count(SLOT) if len(group.texts) > 1 else 0,
        constant=min(1.0, len(group.constant) * len(calls) / group.length) if group.length else 1.0,
        calls=len(calls),
        distinct=len(group.texts),
        spend=spend_of(calls),
        share=share_figure(clusters, len(calls), "calls", look=dearest(calls)),
        input_tokens=sum(call.usage.input_tokens for call in calls),
        output_tokens=sum(call.usage.output_tokens for call in calls),
        latency_p50_ms=quantile(complete, 0.5),
        look_at=tuple(dearest(calls)),
    )
