"""Waste: what was sent, paid or said for nothing. Each kind with its share, its cost and the calls to look at."""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict

from trimtab.money import PriceTable
from trimtab.plan import prefix, uses
from trimtab.plan.evidence import (
    GROUPS,
    Clusters,
    Evidence,
    dearest,
    every_mean,
    every_share,
    share_figure,
    shown,
    spend_of,
)
from trimtab.plan.facts import Facts
from trimtab.plan.findings import Blocks, Figure, Leak, UnusedTool, Verbosity, Waste
from trimtab.plan.timeline import Exchange
from trimtab.stats.intervals import wilson
from trimtab.stats.quantiles import quantile
from trimtab.trace import EndState

# Below so many calls an agent's traffic says too little.
ENOUGH = 20
# An answer as short as a label.
LABEL_TOKENS = 16
_WORD = re.compile(r"\w+")


def found(evidence: Evidence, again: list[int], blocks: Blocks | None) -> Waste:
    """`again` are the rows of exact repeats; `blocks` the curve of a trace that gives block ids."""
    facts = evidence.facts
    prefixes, stack = prefix.found(evidence)
    agents = evidence.agents()
    note = "the same model, messages and tools as an earlier complete call"
    cost = uses.spend(facts, array("q", again))
    share = uses.share_of_calls(facts, again)
    return Waste(
        repeats=Leak(share=share, spend=cost, saving=cost.known, note=note),
        near=_near(agents),
        prefix=prefixes,
        history=_history(agents),
        unused_tools=_unused(agents),
        cut=uses.cut(facts),
        verbosity=_verbosity(evidence),
        batchable=_batchable(facts, evidence.prices),
        oversized=_oversized(agents, facts, evidence.prices),
        blocks=blocks or stack.measured(512),
    )


Agents = dict[tuple[str, str], list[tuple[int, Exchange]]]


def _near(agents: Agents) -> tuple[Leak, ...]:
    """First questions that say the same words as one before, whatever their order, case and signs, under one system
    prompt; no exact repeats. A floor for what a semantic cache finds."""
    leaks = []
    for (workflow, agent), its in agents.items():
        seen: dict[tuple[int, ...], tuple[str, str]] = {}
        clusters, hit, equal, n = Clusters(), [], 0, 0
        for key, one in its:
            asked = [piece for piece in one.pieces if piece.role == "user"]
            if len(asked) != 1 or any(piece.role in ("assistant", "tool") for piece in one.pieces):
                continue
            fixed = tuple(piece.key for piece in one.pieces if piece.role != "user")
            words = hash(tuple(sorted({word.lower() for word in _WORD.findall(asked[0].text)})))
            text, answer = asked[0].text, one.bodies.text if one.bodies else ""
            before = seen.setdefault((*fixed, words), (text, answer))
            is_near = before[0] != text
            clusters.add(key, float(is_near))
            n += 1
            if is_near:
                hit.append(one.call)
                equal += before[1] == answer
        if hit:
            share = share_figure(clusters, n, "first questions", look=[call.id for call in hit])
            note = f"the same words as an earlier question; {equal} of {len(hit)} got the same answer"
            leaks.append(Leak(workflow=workflow, agent=agent, share=share, spend=spend_of(hit), note=note))
    return tuple(sorted(leaks, key=lambda leak: -leak.spend.nanodollars))


def _history(agents: Agents) -> tuple[Leak, ...]:
    """Input tokens that the agent's call before in the session had held already, system prompt and tools left out."""
    leaks = []
    for (workflow, agent), its in agents.items():
        last: dict[int, set[int]] = {}
        clusters, heavy, calls = Clusters(), [], []
        for key, one in its:
            if one.bodies is None or not one.bodies.size:
                continue
            turns = [piece for piece in one.pieces if piece.role not in ("definition", "system")]
            before = last.get(key, set())
            old = sum(piece.size for piece in turns if piece.key in before)
            tokens = old / one.bodies.size * one.call.usage.input_tokens
            clusters.add(key, tokens, one.call.usage.input_tokens)
            if old:
                heavy.append((tokens, one.call.id))
                calls.append(one.call)
            last[key] = {piece.key for piece in turns}
        if calls:
            look = [name for _, name in sorted(heavy, reverse=True)[:5]]
            share = share_figure(clusters, len(its), "calls", look=look)
            note = "turns sent again in full: cached they cost less, summarised or cut they cost nothing"
            row = Leak(workflow=workflow, agent=agent, of="input tokens", share=share, spend=spend_of(calls), note=note)
            leaks.append(row)
    return tuple(sorted(leaks, key=lambda leak: -leak.spend.nanodollars))


def _unused(agents: Agents) -> tuple[UnusedTool, ...]:
    rows = []
    for (workflow, agent), its in agents.items():
        offered: Counter[str] = Counter()
        tokens: dict[str, float] = defaultdict(float)
        calls: dict[str, list[str]] = defaultdict(list)
        asked = {call.name for _, one in its for call in one.asked}
        # What was asked in calls still in the histories counts too.
        asked |= {call.name for _, one in its for piece in one.pieces for call in piece.calls}
        for _, one in its:
            size = one.bodies.size if one.bodies else 0
            for piece in one.pieces:
                if piece.role == "definition" and piece.name and piece.name not in asked:
                    offered[piece.name] += 1
                    tokens[piece.name] += piece.size / size * one.call.usage.input_tokens
                    if len(calls[piece.name]) < 5:
                        calls[piece.name].append(one.call.id)
        for name, n in offered.items():
            bound = wilson(0, n)
            method = "no answer asked for it; Wilson's interval over calls, 95 %"
            share = Figure(value=0.0, low=0.0, high=bound.high, n=n, method=method, look_at=tuple(calls[name]))
            row = UnusedTool(
                workflow=workflow, agent=agent, tool=shown(name), offered=n, share=share, tokens=round(tokens[name])
            )
            rows.append(row)
    return tuple(sorted(rows, key=lambda row: (-row.tokens, row.tool)))


def _verbosity(evidence: Evidence) -> tuple[Verbosity, ...]:
    facts = evidence.facts
    rows = []
    for (workflow, agent), its in facts.rows_by(lambda kind: (kind.workflow, kind.agent)):
        output, reasoning, solved = Clusters(), Clusters(), Clusters()
        tasks: dict[int, int] = {}
        for row in its:
            group = facts.session[row] % GROUPS
            output.add(group, facts.output[row])
            reasoning.add(group, facts.reasoning[row], facts.output[row])
            if facts.trace[row] in evidence.solved:
                solved.add(group, facts.output[row], 0.0)
                tasks[facts.trace[row]] = group
        for task, group in tasks.items():
            solved.add(group, 0.0, float(evidence.solved[task]))
        longest = sorted(its, key=lambda row: -facts.output[row])[:5]
        row_ = Verbosity(
            workflow=workflow,
            agent=agent,
            output=every_mean(output, len(its), facts.ids(longest)),
            output_p90=quantile([facts.output[row] for row in its], 0.9),
            reasoning=every_share(reasoning, len(its)),
            per_solved=every_mean(solved, len(tasks)) if tasks else Figure(),
        )
        rows.append(row_)
    return tuple(sorted(rows, key=lambda row: -(row.output.value or 0) * row.output.n))


def _batchable(facts: Facts, prices: PriceTable | None) -> tuple[Leak, ...]:
    """Calls that were not streamed, stood alone in their sessions and were not sent at the batch rate. Without bodies
    it is not known what was streamed."""
    sizes = Counter(facts.session)
    wanted = facts.rows_by(
        lambda kind: (
            (kind.workflow, kind.agent, kind.model)
            if kind.end is EndState.COMPLETE and not kind.stream and not kind.batch
            else None
        )
    )
    groups = dict(facts.rows_by(lambda kind: (kind.workflow, kind.agent, kind.model)))
    leaks = []
    for name, rows in wanted:
        alone = array("q", (row for row in rows if facts.digest[row] and sizes[facts.session[row]] == 1))
        if len(alone) < ENOUGH:
            continue
        cost = uses.spend(facts, alone)
        price = prices.find(name[2]) if prices else None
        rate = price.batch if price else None
        saving = None if rate is None or cost.known is None else round(cost.known * (1 - rate))
        figure = uses.share_of_calls(facts, alone, groups[name])
        terms = "no batch price is known for it" if rate is None else f"batch price is {rate:.0%} of the full one"
        note = f"{name[2]}: not streamed, alone in its session: if no one waits for it, it may go in a batch; {terms}"
        leaks.append(Leak(workflow=name[0], agent=name[1], share=figure, spend=cost, saving=saving, note=note))
    return tuple(sorted(leaks, key=lambda leak: -(leak.saving or 0)))


def _oversized(agents: Agents, facts: Facts, prices: PriceTable | None) -> tuple[Leak, ...]:
    """Agents whose answers are as short as labels, few and without tools, on a model dearer than another in use."""
    leaks = []
    for (workflow, agent), its in agents.items():
        by_model: dict[str, list[tuple[int, Exchange]]] = defaultdict(list)
        for key, one in its:
            if one.bodies and one.bodies.answered:
                by_model[one.call.response_model or one.call.request_model].append((key, one))
        for model, own in by_model.items():
            calls = [one.call for _, one in own]
            length = quantile([call.usage.output_tokens for call in calls], 0.9) or 0
            answers = {one.bodies.text.strip().lower() for _, one in own if one.bodies}
            if len(own) < ENOUGH or length > LABEL_TOKENS or any(one.asked for _, one in own):
                continue
            if len(answers) > max(ENOUGH, len(own) // 5):
                continue
            clusters = Clusters()
            for key, _ in its:
                clusters.add(key, 0.0)
            for key, _ in own:
                clusters.add(key, 1.0, 0.0)
            share = share_figure(clusters, len(its), "calls", look=dearest(calls))
            cost = spend_of(calls)
            factor, other = _cheaper(model, facts, prices)
            note = f"{shown(model)}: {len(answers)} different answers, 90 % of at most {length:.0f} tokens{other}"
            saving = None if factor is None or cost.known is None else round(cost.known * (1 - factor))
            leaks.append(Leak(workflow=workflow, agent=agent, share=share, spend=cost, saving=saving, note=note))
    return tuple(sorted(leaks, key=lambda leak: -(leak.saving or leak.spend.nanodollars)))


def _cheaper(model: str, facts: Facts, prices: PriceTable | None) -> tuple[float | None, str]:
    """What part of `model`'s price for input the cheapest other model in these logs takes, and its name."""
    own = prices.find(model) if prices else None
    if own is None or prices is None or not own.input:
        return None, ""
    others = {kind.model: price for kind in facts.kinds if kind.model != model and (price := prices.find(kind.model))}
    cheaper = {name: price.input / own.input for name, price in others.items() if price.input < own.input}
    if not cheaper:
        return None, ""
    name = min(cheaper, key=cheaper.__getitem__)
    return cheaper[name], f"; {name}, also in use, costs {cheaper[name]:.0%} of it"
