"""Hand-overs between agents: who works after whom, and whether the receiver had to do the sender's work again."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple

from trimtab.plan.evidence import Clusters, share_figure, shown
from trimtab.plan.findings import Edge
from trimtab.plan.sample import Session
from trimtab.plan.timeline import Exchange
from trimtab.plan.tools import HANDOFF

# Questions that share this much of their words are one question.
ALIKE = 0.5
_QUESTION = re.compile(r"[^.!?\n]*\?")
_WORD = re.compile(r"\w+")


class _Stretch(NamedTuple):
    """Calls of one agent in a row."""

    agent: str
    exchanges: list[Exchange]


class _Passed(NamedTuple):
    """One hand-over judged; `told` is False where bodies are missing, so that nothing can be said."""

    session: int
    call: str
    transfer: bool
    returned: bool
    asked_again: bool
    done_again: bool
    told: bool


def edges(workflows: dict[str, list[Session]]) -> tuple[Edge, ...]:
    rows = []
    for workflow, sessions in workflows.items():
        passed: dict[tuple[str, str], list[_Passed]] = defaultdict(list)
        for session in sessions:
            stretches = _stretches(session.exchanges)
            for place in range(1, len(stretches)):
                pair = stretches[place - 1].agent, stretches[place].agent
                passed[pair].append(_judged(session.key, stretches, place))
        rows += [_edge(workflow, pair, its) for pair, its in passed.items()]
    return tuple(sorted(rows, key=lambda edge: (-edge.count, edge.workflow, edge.source, edge.target)))


def _edge(workflow: str, pair: tuple[str, str], passed: list[_Passed]) -> Edge:
    success = Clusters()
    told = [one for one in passed if one.told]
    bad = [one for one in told if one.returned or one.asked_again or one.done_again]
    for one in told:
        success.add(one.session, float(one not in bad))
    return Edge(
        workflow=workflow,
        source=shown(pair[0]),
        target=shown(pair[1]),
        count=len(passed),
        transfers=sum(one.transfer for one in passed),
        success=share_figure(success, len(told), "hand-overs", look=[one.call for one in bad or told]),
        returned=sum(one.returned for one in told),
        asked_again=sum(one.asked_again for one in told),
        done_again=sum(one.done_again for one in told),
    )


def _stretches(exchanges: list[Exchange]) -> list[_Stretch]:
    found: list[_Stretch] = []
    for one in exchanges:
        if found and found[-1].agent == one.call.agent:
            found[-1].exchanges.append(one)
        else:
            found.append(_Stretch(one.call.agent, [one]))
    return found


def _judged(session: int, stretches: list[_Stretch], place: int) -> _Passed:
    """The hand-over to `stretches[place]`. Each counts under the first of its faults alone."""
    sender, receiver = stretches[place - 1], stretches[place]
    transfer = any(call.name.startswith(HANDOFF) for call in sender.exchanges[-1].asked)
    back = stretches[place + 1].agent if place + 1 < len(stretches) else None
    returned = transfer and len(receiver.exchanges) == 1 and back == sender.agent
    returned = returned and any(call.name.startswith(HANDOFF) for call in receiver.exchanges[0].asked)
    asked = _questions(sender.exchanges)
    again = any(_alike(one, other) for one in _questions(receiver.exchanges[:3]) for other in asked)
    done = {(call.name, call.arguments) for one in sender.exchanges for call in one.asked}
    redone = any(
        (call.name, call.arguments) in done and not call.name.startswith(HANDOFF)
        for one in receiver.exchanges
        for call in one.asked
    )
    told = all(part.exchanges[0].bodies is not None for part in (sender, receiver))
    return _Passed(
        session=session,
        call=receiver.exchanges[0].call.id,
        transfer=transfer,
        returned=returned,
        asked_again=again and not returned,
        done_again=redone and not again and not returned,
        told=told,
    )


def _questions(exchanges: list[Exchange]) -> list[set[str]]:
    """The words of each question that an answer put."""
    texts = [one.bodies.text[:4000] for one in exchanges if one.bodies]
    return [words for text in texts for each in _QUESTION.findall(text) if len(words := _words(each)) >= 3]


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}


def _alike(one: set[str], other: set[str]) -> bool:
    return len(one & other) >= ALIKE * len(one | other)
