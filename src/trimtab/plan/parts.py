"""What the sample's tokens were for: system prompt, tool definitions, history, retrieved text, results, output."""

from __future__ import annotations

import re
from collections import defaultdict

from trimtab.money import PriceTable
from trimtab.plan.evidence import Clusters, Evidence, share_figure
from trimtab.plan.findings import Part, PartUse
from trimtab.plan.messages import Piece
from trimtab.plan.timeline import Exchange
from trimtab.trace import Call

# Results of tools so named are texts that were looked up.
_RETRIEVAL = re.compile(r"(?i)retriev|search|lookup|knowledge|passage|document|\bdocs?\b|wiki|rag\b")
# Text that a program put into a prompt, between tags that say so.
_TAGGED = re.compile(r"(?is)<(context|documents?|passages?|sources?|search_results|retrieved)\b[^>]*>.*?</\1>")


def uses(evidence: Evidence) -> tuple[PartUse, ...]:
    """Of all calls together (agent and workflow ''), then by agent."""
    every: list[tuple[int, Exchange]] = []
    rows: list[PartUse] = []
    retrieved: dict[int, int] = {}
    for (workflow, agent), its in evidence.agents().items():
        every += its
        rows += _uses((workflow, agent), its, evidence.prices, retrieved)
    return (*_uses(("", ""), every, evidence.prices, retrieved), *rows)


def _uses(
    name: tuple[str, str], its: list[tuple[int, Exchange]], prices: PriceTable | None, retrieved: dict[int, int]
) -> list[PartUse]:
    clusters = {part: Clusters() for part in Part}
    tokens: dict[Part, float] = defaultdict(float)
    money: dict[Part, float] = defaultdict(float)
    largest: dict[Part, list[tuple[float, str]]] = defaultdict(list)
    n = priced = 0
    for key, one in its:
        if one.bodies is None or not one.bodies.size:
            continue
        n += 1
        shares = _shares(one, retrieved)
        total = sum(shares.values())
        costs = _costs(one.call, prices)
        priced += costs is not None
        for part in Part:
            own = shares.get(part, 0.0)
            clusters[part].add(key, own, total)
            tokens[part] += own
            if own:
                largest[part].append((own, one.call.id))
            if costs is not None and own:
                side, whole = (costs[1], own) if part is Part.OUTPUT else (costs[0], one.call.usage.input_tokens)
                money[part] += side * (own / whole if part is not Part.OUTPUT and whole else 1.0)
    return [
        PartUse(
            workflow=name[0],
            agent=name[1],
            part=part,
            share=share_figure(
                clusters[part], n, "calls", look=[name for _, name in sorted(largest[part], reverse=True)[:5]]
            ),
            tokens=round(tokens[part]),
            nanodollars=round(money[part]) if priced else None,
        )
        for part in Part
        if tokens[part]
    ]


def _shares(one: Exchange, retrieved: dict[int, int]) -> dict[Part, float]:
    """Tokens by part: the input's by bytes."""
    bodies, usage = one.bodies, one.call.usage
    assert bodies is not None
    sizes: dict[Part, float] = defaultdict(float)
    named = {call.id: call.name for piece in bodies.pieces for call in piece.calls}
    newest = max((place for place, piece in enumerate(bodies.pieces) if piece.role == "assistant"), default=-1)
    for place, piece in enumerate(bodies.pieces):
        looked_up = _retrieved(piece, named, retrieved)
        sizes[Part.RETRIEVED] += looked_up
        sizes[_part(piece, place > newest)] += piece.size - looked_up
    shares = {part: size / bodies.size * usage.input_tokens for part, size in sizes.items()}
    shares[Part.OUTPUT] = float(usage.output_tokens)
    return shares


def _part(piece: Piece, is_new: bool) -> Part:
    if piece.role == "definition":
        return Part.TOOLS
    if piece.role == "system":
        return Part.SYSTEM
    if not is_new:
        return Part.HISTORY
    return Part.RESULTS if piece.role == "tool" else Part.ASKED


def _retrieved(piece: Piece, named: dict[str, str], known: dict[int, int]) -> int:
    """Bytes of text in the piece that were looked up."""
    if piece.role == "tool":
        return piece.size if _RETRIEVAL.search(named.get(piece.call_id, "")) else 0
    if piece.role not in ("user", "system"):
        return 0
    size = known.get(piece.key)
    if size is None:
        texts = (match.group() for match in _TAGGED.finditer(piece.text)) if "</" in piece.text else ()
        size = known[piece.key] = min(piece.size, sum(len(text.encode("utf-8", "replace")) for text in texts))
    return size


def _costs(call: Call, prices: PriceTable | None) -> tuple[float, float] | None:
    """Nano-dollars of the input and of the output; None where the call or its model has no price."""
    if prices is None or call.cost_nanodollars is None:
        return None
    names = (call.priced_as, call.response_model, call.request_model)
    price = next((found for name in names if name and (found := prices.find(name))), None)
    if price is None:
        return None
    output = min(float(call.cost_nanodollars), call.usage.output_tokens * price.output * 1000)
    return call.cost_nanodollars - output, output
