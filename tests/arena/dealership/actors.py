"""Small hand-made actors, and a way to find the task one needs."""

import asyncio
import json

from trimtab.arena.dealership import tasks
from trimtab.arena.dealership.session import Oracle, Stage, faults, play, solved_by_oracle


def say(text):
    return {"role": "assistant", "content": text}


def use(name, **arguments):
    return uses((name, json.dumps(arguments)))


def uses(*calls):
    """One message with several tool calls, arguments as text."""
    made = [
        {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": text}}
        for i, (name, text) in enumerate(calls)
    ]
    return {"role": "assistant", "content": "", "tool_calls": made}


class Scripted:
    """Makes these moves in order, then repeats the last one."""

    def __init__(self, *moves):
        self.moves, self.turn = moves, 0

    async def act(self, agent, messages, schemas):
        self.turn += 1
        return json.loads(json.dumps(self.moves[min(self.turn, len(self.moves)) - 1]))


class Bent:
    """The oracle, each of whose moves is bent by a function before it is made."""

    def __init__(self, customer, bend):
        self.oracle, self.bend = Oracle(customer), bend

    async def act(self, agent, messages, schemas):
        return self.bend(await self.oracle.act(agent, messages, schemas))


def find(family, fits=lambda goal: True, split="test"):
    """The first task of this family whose goal fits."""
    for task in tasks.draw(split, 2000, 1):
        if task.family == family and fits(task.enter()[1].goal):
            return task
    raise AssertionError(f"no task of {family} fits")


def judged(task, actor=None, bend=None):
    """(played, faults) of one session by an actor, or by the bent oracle."""

    async def both():
        stage = Stage(*task.enter())
        played = await play(task, actor or Bent(stage.customer, bend), stage)
        return played, faults(played, await solved_by_oracle(task))

    return asyncio.run(both())
