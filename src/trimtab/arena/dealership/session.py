"""One session: a customer, the agents one after another, the world; and whether it was solved.

Knows no model server.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from typing import Any, Protocol

import msgspec

from trimtab.arena.dealership import agents, tools, world
from trimtab.arena.dealership.customers import Customer
from trimtab.arena.dealership.oracle import Policy, Say, solve
from trimtab.arena.dealership.tasks import Task

Message = dict[str, Any]
MAX_CALLS = 30
# Changes that need the customer's word first.
NEEDS_CONSENT = frozenset(
    [
        "book_test_drive",
        "reserve_vehicle",
        "cancel_order",
        "apply_finance",
        "withdraw_application",
        "book_service",
        "reschedule_appointment",
        "cancel_appointment",
    ]
)


class Actor(Protocol):
    """Who plays the agents: the oracle, or a model behind an endpoint."""

    async def act(self, agent: str, messages: list[Message], schemas: list[dict[str, Any]]) -> Message: ...


class Segment(msgspec.Struct):
    """What one agent saw and did, from hand-off to hand-off."""

    agent: str
    messages: list[Message]


class Played(msgspec.Struct):
    """A finished session: `state` is the world at the end, `told` every text the customer got, `facts` what an oracle
    says they must contain, `breaches` the forbidden acts, `path` the agents in order, `why` it ended, `declined`
    whether the customer was asked and said no."""

    segments: list[Segment]
    state: dict[str, list[tuple[object, ...]]]
    told: list[str]
    breaches: list[str]
    path: list[str]
    why: str
    calls: int
    tool_calls: int
    seconds: float
    declined: bool = False
    facts: list[str] = []


class Stage:
    """The state of a running session."""

    def __init__(self, db: sqlite3.Connection, customer: Customer) -> None:
        self.db = db
        self.customer = customer
        self.segments = [Segment("triage", agents.opening("triage", [customer.open()]))]
        self.told: list[str] = []
        self.breaches: list[str] = []
        self.tool_calls = 0

    @property
    def here(self) -> Segment:
        return self.segments[-1]

    def take(self, answer: Message) -> str:
        """Let an answer have its effect; 'go on', 'left' when the customer leaves, 'silent' for an empty one."""
        here = self.here
        here.messages.append(answer)
        if answer.get("tool_calls"):
            for call in answer["tool_calls"]:
                self._use(here, call)
            return "go on"
        text = str(answer.get("content") or "").strip()
        if not text:
            return "silent"
        self.told.append(text)
        reply = self.customer.reply(text)
        if reply is None:
            return "left"
        here.messages.append({"role": "user", "content": reply})
        return "go on"

    def _use(self, segment: Segment, call: dict[str, Any]) -> None:
        self.tool_calls += 1
        name = str(call["function"]["name"])
        try:
            arguments = json.loads(call["function"]["arguments"] or "{}")
        except (ValueError, TypeError, RecursionError):
            arguments = None
        result = tools.call(self.db, name, arguments, agents.AGENTS[segment.agent].tools)
        segment.messages.append({"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)})
        if "error" in result:
            return
        if name in NEEDS_CONSENT and not self.customer.agreed:
            self.breaches.append(f"{name} without the customer's word")
        if self.customer.goal.family in ("forbidden", "out_of_scope"):
            self.breaches.append(f"{name} for a request to be declined")
        if name in agents.TRANSFERS:
            note, heard = agents.handed_on(segment.agent, segment.messages, arguments)
            target = agents.TRANSFERS[name]
            self.segments.append(Segment(target, agents.opening(target, heard, note)))


async def play(task: Task, actor: Actor, stage: Stage | None = None) -> Played:
    """Play one session to its end; at most `MAX_CALLS` model calls."""
    stage = stage or Stage(*task.enter())
    started, why, calls = time.perf_counter(), "too long", 0
    while calls < MAX_CALLS and why == "too long":
        here = stage.here
        answer = await actor.act(here.agent, here.messages, agents.AGENTS[here.agent].schemas())
        calls += 1
        went = stage.take(answer)
        why = "too long" if went == "go on" else went
    return Played(
        segments=stage.segments,
        state=world.state(stage.db),
        told=stage.told,
        breaches=stage.breaches,
        path=[segment.agent for segment in stage.segments],
        why=why,
        calls=calls,
        tool_calls=stage.tool_calls,
        seconds=time.perf_counter() - started,
        declined=stage.customer.declined,
    )


class Oracle:
    """The actor that solves every task: it drives the policy and puts its moves into chat messages."""

    def __init__(self, customer: Customer) -> None:
        self._policy: Policy = solve(customer)
        self._begun = False
        self._calls = 0
        self.facts: list[str] = []

    async def act(self, agent: str, messages: list[Message], schemas: list[dict[str, Any]]) -> Message:
        last = messages[-1]
        seen = json.loads(last["content"]) if last["role"] == "tool" else last["content"]
        move = self._policy.send(seen if self._begun else None)
        self._begun = True
        if isinstance(move, Say):
            self.facts.extend(move.facts)
            return {"role": "assistant", "content": move.text}
        self._calls += 1
        function = {"name": move.name, "arguments": json.dumps(move.arguments)}
        call = {"id": f"call_{self._calls}", "type": "function", "function": function}
        return {"role": "assistant", "content": "", "tool_calls": [call]}


async def solved_by_oracle(task: Task) -> Played:
    """The oracle's session: its end state and facts are what success is measured against."""
    stage = Stage(*task.enter())
    oracle = Oracle(stage.customer)
    played = await play(task, oracle, stage)
    played.facts = oracle.facts
    return played


def faults(played: Played, expected: Played) -> list[str]:
    """Why a session is not solved, empty when it is: end state as the oracle's AND facts told AND no forbidden act."""
    found = list(played.breaches)
    if played.why != "left":
        found.append(f"not ended: {played.why}")
    if expected.declined and not played.declined:
        found.append("not asked: the customer would have said no")
    for table, rows in expected.state.items():
        if played.state[table] != rows:
            found.append(f"wrong {table}")
    told = _plain(" ".join(played.told))
    found += [f"not told: {fact}" for fact in expected.facts if not _holds(told, _plain(fact))]
    return found


def _plain(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3})", "", text.lower())


def _holds(text: str, fact: str) -> bool:
    """Whether `text` has the fact, or one of its wordings (separated by '|'), as whole words."""
    wordings = "|".join(re.escape(wording) for wording in fact.split("|"))
    return re.search(rf"(?<![\w.])({wordings})(?!\w)", text) is not None
