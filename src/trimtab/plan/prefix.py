"""Prompt prefixes: how much of each request had been sent before, how much was billed so, and what breaks the rest."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from trimtab.plan.blocks import Stack
from trimtab.plan.evidence import Clusters, Evidence, share_figure, shown
from trimtab.plan.facts import masked
from trimtab.plan.findings import Break, Figure, Prefix
from trimtab.plan.messages import Piece, common
from trimtab.plan.timeline import Exchange

# The newest texts remembered that followed one and the same beginning.
_BRANCHES = 4
_SHOWN = 60
# A break that costs less than this many bytes is none: prompts differ in their questions.
_LEAST = 200
_BLOCK = 2048  # bytes, about 512 tokens
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?|\d{1,2}:\d\d(?::\d\d)?"
    r"|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b|\b\d{10}(?:\d{3})?\b"
    r"|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* \d{1,2}(?:, \d{4})?"
)
_ID = re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b|\b(?=\w*\d)(?=\w*[a-zA-Z])\w{12,}\b")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_KINDS = (("a time or date", _TIME), ("an id", _ID), ("a number", _NUMBER))


class _Tree:
    """Requests seen, as chains of pieces; `common` is how many bytes of a request some earlier one began with."""

    def __init__(self) -> None:
        self._next: dict[int, dict[int, str]] = {}

    def common(self, pieces: Iterable[tuple[int, int, str]]) -> tuple[int, int, str, str]:
        """Bytes in common, the place of the first piece that is new (-1: none), its text and the nearest before it."""
        at, shared = 0, 0
        gone = (-1, "", "")
        is_open = True
        for place, (key, size, text) in enumerate(pieces):
            branches = self._next.setdefault(at, {})
            if is_open and key not in branches:
                near = max(branches.values(), key=lambda known: common(known, text), default="")
                part = common(near, text)
                shared += round(size * part / len(text)) if text else 0
                gone = (place, text, near)
                is_open = False
            elif is_open:
                shared += size
            if key not in branches and len(branches) >= _BRANCHES:
                branches.pop(next(iter(branches)))
            branches[key] = text
            at = hash((at, key))
        return (shared, *gone)


class _Seen(NamedTuple):
    """One request judged, in shares of its input; `broken`: what broke it, the new text, the nearest before it."""

    cluster: int
    call: str
    who: tuple[str, str]
    tokens: int
    possible: float
    fixable: float
    broken: tuple[str, str, str] | None


def found(evidence: Evidence) -> tuple[Prefix, Stack]:
    """The prefix of every sampled request, in order of time; and its text in blocks, for the curve by cache size."""
    ordered = sorted(
        ((session.key, one) for session in evidence.sessions for one in session.exchanges if one.pieces),
        key=lambda pair: pair[1].call.started_ns,
    )
    trees: dict[str, tuple[_Tree, _Tree]] = defaultdict(lambda: (_Tree(), _Tree()))
    orders: dict[frozenset[int], list[int]] = {}
    stack, seen = Stack(), []
    for cluster, one in ordered:
        stack.add(_blocks(one.pieces))
        plain, mended = trees[one.call.response_model or one.call.request_model]
        seen.append(_judged(cluster, one, (plain, mended), orders))
    had = Clusters()
    for cluster, one in ordered:
        had.add(cluster, one.call.usage.cache_read_tokens, one.call.usage.input_tokens)
    method = "sampled requests in order of time, unlimited cache; ratio of sums, one cluster a session"
    return (
        Prefix(
            possible=_figure(seen, "possible", method),
            had=share_figure(had, len(ordered), "calls", method),
            fixable=_figure(seen, "fixable", method),
            breaks=_breaks(seen),
        ),
        stack,
    )


def _figure(seen: list[_Seen], name: str, method: str) -> Figure:
    clusters = Clusters()
    for one in seen:
        clusters.add(one.cluster, getattr(one, name) * one.tokens, one.tokens)
    worst = sorted(seen, key=lambda one: (one.possible - one.fixable) * one.tokens)[:5]
    return share_figure(clusters, len(seen), "calls", method, [one.call for one in worst])


def _judged(cluster: int, one: Exchange, trees: tuple[_Tree, _Tree], orders: dict[frozenset[int], list[int]]) -> _Seen:
    assert one.bodies is not None
    pieces, size = one.pieces, one.bodies.size or 1
    shared, place, text, near = trees[0].common([(piece.key, piece.size, piece.text) for piece in pieces])
    better = trees[1].common(_mended(pieces))[0]
    shuffled = _is_shuffled(pieces, orders)
    broken = None
    if better - shared >= _LEAST and place >= 0:
        cause = "the tools stand in another order" if shuffled else _cause(text, near)
        broken = (cause, text, near)
    return _Seen(
        cluster=cluster,
        call=one.call.id,
        who=(shown(one.call.workflow), shown(one.call.agent)),
        tokens=one.call.usage.input_tokens,
        possible=shared / size,
        fixable=max(better, shared) / size,
        broken=broken,
    )


def _is_shuffled(pieces: tuple[Piece, ...], orders: dict[frozenset[int], list[int]]) -> bool:
    tools = [piece.key for piece in pieces if piece.role == "definition"]
    return len(tools) > 1 and orders.setdefault(frozenset(tools), tools) != tools


def _mended(pieces: tuple[Piece, ...]) -> list[tuple[int, int, str]]:
    """The pieces with tools in one order and, in system prompts, what changes from call to call laid aside."""
    tools = sorted((piece for piece in pieces if piece.role == "definition"), key=lambda piece: (piece.name, piece.key))
    rest = [piece for piece in pieces if piece.role != "definition"]
    return [
        (hash(_steady(piece.text)) if piece.role == "system" else piece.key, piece.size, piece.text)
        for piece in (*tools, *rest)
    ]


@functools.lru_cache(maxsize=512)
def _steady(text: str) -> str:
    """A system prompt without times, ids and numbers."""
    for _, pattern in _KINDS:
        text = pattern.sub("…", text)
    return text


def _cause(text: str, near: str) -> str:
    """What stands where two system prompts part."""
    at = common(text, near)
    for name, pattern in _KINDS:
        for match in pattern.finditer(text, max(0, at - 40)):
            if match.start() <= at <= match.end():
                where = (
                    "at the head"
                    if at * 4 < len(text)
                    else "in the middle"
                    if at * 4 < 3 * len(text)
                    else "near the end"
                )
                return f"{name} {where} of the system prompt"
            if match.start() > at:
                break
    return "text that changes in the system prompt"


def _breaks(seen: list[_Seen]) -> tuple[Break, ...]:
    rows = []
    by_who: dict[tuple[str, str], list[_Seen]] = defaultdict(list)
    for one in seen:
        by_who[one.who].append(one)
    for (workflow, agent), its in by_who.items():
        causes = dict.fromkeys(one.broken[0] for one in its if one.broken)
        for cause in causes:
            hit = [one for one in its if one.broken and one.broken[0] == cause]
            clusters = Clusters()
            for one in its:
                clusters.add(one.cluster, float(one.broken is not None and one.broken[0] == cause))
            share = share_figure(clusters, len(its), "calls", look=[one.call for one in hit])
            lost = round(sum((one.fixable - one.possible) * one.tokens for one in hit))
            sample = _around(*hit[0].broken[1:]) if hit[0].broken else ""
            row = Break(workflow=workflow, agent=agent, cause=cause, sample=sample, share=share, tokens=lost)
            rows.append(row)
    return tuple(sorted(rows, key=lambda row: -row.tokens))


def _around(text: str, near: str) -> str:
    """The text where the two part. Masked first: half a secret is one still, but none that can be told."""
    text, near = masked(text), masked(near)
    at = common(text, near)
    return text[max(0, at - _SHOWN // 2) : at + _SHOWN]


def _blocks(pieces: tuple[Piece, ...]) -> list[int]:
    """The prompt's whole blocks, each named by all up to its end."""
    ids, at, held = [], 0, 0
    for piece in pieces:
        at = hash((at, piece.key))
        held += piece.size
        # A piece over several blocks is several ids; small ones share one.
        while held >= _BLOCK:
            held -= _BLOCK
            ids.append(hash((at, held)) & (2**62 - 1))
    return ids
