"""A run: many sessions against one endpoint, at a set concurrency or at the customers' own arrival times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import aiohttp
import msgspec

from trimtab.arena.client import Caller, Target
from trimtab.arena.dealership.session import Played, faults, play, solved_by_oracle
from trimtab.arena.dealership.tasks import Task
from trimtab.errors import ArenaError, UpstreamError


class Pace(msgspec.Struct, frozen=True):
    """At most `concurrency` sessions at once. With `speed` > 0 a customer comes at its arrival time divided by `speed`
    (open loop; waits only if the house is full), with 0 as soon as a place is free (closed loop)."""

    concurrency: int = 8
    speed: float = 0.0

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ArenaError(f"{self.concurrency} sessions at once are none: ask for one or more")
        if not self.speed >= 0:
            raise ArenaError(f"a speed of {self.speed:g} has no meaning: 0 is closed loop, above 0 is how much faster")


class Session(msgspec.Struct, frozen=True):
    """How one session went; `faults` is empty when it was solved, `path` and `expected` are the agents in order."""

    task: Task
    trial: int
    trace_id: str
    faults: tuple[str, ...]
    why: str
    path: tuple[str, ...]
    expected: tuple[str, ...]
    calls: int
    tool_calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    seconds: float
    waited_s: float = 0.0

    @property
    def solved(self) -> bool:
        return not self.faults


class Active(msgspec.Struct):
    """A session that is running: for a live view."""

    session: str
    family: str
    started: float
    action: str = "arrives"
    caller: Caller | None = None


class Run:
    """Plays `tasks` × `trials` against `target`; `sessions` grows as they end, `active` is what runs now."""

    def __init__(self, target: Target, tasks: list[Task], pace: Pace, trials: int = 1) -> None:
        if trials < 1:
            raise ArenaError(f"{trials} trials are none: ask for one or more")
        self.target, self.pace = target, pace
        self.plan = [(task, trial) for trial in range(trials) for task in tasks]
        self.sessions: list[Session] = []
        self.active: dict[str, Active] = {}
        self.started = 0.0
        self.seconds = 0.0

    async def play(self, on_end: Callable[[Session], None] | None = None) -> list[Session]:
        """All sessions, in the order of their tasks. UpstreamError at once if the endpoint cannot be reached at all."""
        self.started = time.perf_counter()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as http:
            await self._knock(http)
            places = asyncio.Semaphore(self.pace.concurrency)
            async with asyncio.TaskGroup() as group:
                for task, trial in self.plan:
                    group.create_task(self._session(http, places, task, trial, on_end))
        self.seconds = time.perf_counter() - self.started
        order = {(task.id, trial): place for place, (task, trial) in enumerate(self.plan)}
        self.sessions.sort(key=lambda session: order[session.task.id, session.trial])
        return self.sessions

    async def _knock(self, http: aiohttp.ClientSession) -> None:
        url = self.target.url.rstrip("/") + "/models"
        try:
            async with http.get(url, timeout=aiohttp.ClientTimeout(total=10)):
                return
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamError(
                f"nothing answers at {self.target.url}: start it, or name another --endpoint"
            ) from error

    async def _session(
        self,
        http: aiohttp.ClientSession,
        places: asyncio.Semaphore,
        task: Task,
        trial: int,
        on_end: Callable[[Session], None] | None,
    ) -> None:
        due = task.arrival_s / self.pace.speed if self.pace.speed > 0 else 0.0
        await asyncio.sleep(max(0.0, due - (time.perf_counter() - self.started)))
        arrived = time.perf_counter()
        async with places:
            waited = time.perf_counter() - arrived
            name = f"{task.id}.{trial}"
            active = self.active[name] = Active(name, task.family, time.perf_counter())
            caller = Caller(http, self.target, name, lambda action: setattr(active, "action", action))
            active.caller = caller
            session = await judged(task, trial, caller)
            del self.active[name]
        session = msgspec.structs.replace(session, waited_s=waited)
        self.sessions.append(session)
        if on_end is not None:
            on_end(session)


async def judged(task: Task, trial: int, caller: Caller) -> Session:
    """Play one task and hold it against the oracle's session."""
    expected = await solved_by_oracle(task)
    started = time.perf_counter()
    played: Played | None = None
    try:
        played = await play(task, caller)
        wrong, why = faults(played, expected), played.why
    except UpstreamError as error:
        wrong, why = [f"no answer: {error}"], "no answer"
    return Session(
        task=task,
        trial=trial,
        trace_id=caller.trace_id,
        faults=tuple(wrong),
        why=why,
        path=tuple(played.path) if played else (),
        expected=tuple(expected.path),
        calls=caller.used.calls,
        tool_calls=played.tool_calls if played else 0,
        input_tokens=caller.used.input_tokens,
        output_tokens=caller.used.output_tokens,
        cached_tokens=caller.used.cached_tokens,
        seconds=time.perf_counter() - started,
    )
