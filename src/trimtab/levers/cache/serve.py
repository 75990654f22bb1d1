"""The cache as a Step: what may be kept is looked up, answered from what is held, or kept once upstream answered."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from trimtab.deployment import StepSpec
from trimtab.errors import TrimtabError
from trimtab.gateway.chain import Call, Reply, Request
from trimtab.levers.cache import asking, kept, options, replaying, taking
from trimtab.levers.cache.admission import Admission
from trimtab.levers.cache.asking import Asked
from trimtab.levers.cache.collapse import Flight, Flights
from trimtab.levers.cache.exact import Memory
from trimtab.levers.cache.kept import Kept
from trimtab.levers.cache.options import Options
from trimtab.levers.cache.tiers import NOTHING, Found, Tiers
from trimtab.store.artifacts import ArtifactStore
from trimtab.trace import SAVED_MS_TAG

log = logging.getLogger("trimtab.cache")

STATE = "policy.state"
_MB = 1 << 20
_SAID_EVERY_S = 60.0
_TURN_S = 0.001
# What the parts may raise over a damaged file, a vector of another width, an encoder that fails.
_BREAKING = (ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)
Done = TypeVar("Done")


def make(spec: StepSpec, folder: Path) -> Cache:
    """The step of `spec`, its entries below `folder`. ConfigError or StoreError where options or artefact are wrong."""
    its = options.read(spec.options)
    state = None
    if spec.artifact:
        state = (ArtifactStore(folder).get(spec.artifact).folder / STATE).read_bytes() or None
    return Cache(its, Tiers(its, folder / its.folder, state))


class Cache:
    """One for each Deployment that is made ready. What takes time is done in threads: one looks up, one keeps."""

    def __init__(self, options: Options, tiers: Tiers) -> None:
        self.options = options
        self.tiers = tiers
        self._memory = Memory(options.memory_mb * _MB)
        self._flights: Flights[Kept] = Flights()
        self._admission = Admission(options.admit_per_hour)
        self._looking = ThreadPoolExecutor(1, thread_name_prefix="trimtab-cache-looking")
        self._keeping = ThreadPoolExecutor(1, thread_name_prefix="trimtab-cache-keeping")
        self._keeping.submit(tiers.open)
        # A thread that computes must not keep the event loop from its turn for the interpreter's usual 5 ms.
        sys.setswitchinterval(min(sys.getswitchinterval(), _TURN_S))
        self._tasks: set[asyncio.Task[None]] = set()
        self._said = -_SAID_EVERY_S

    async def __call__(self, request: Request, call_next: Call) -> Reply:
        asked = asking.of(request, self.options)
        if isinstance(asked, str):
            request.notes.cache = "bypass"
            request.notes.marks["trimtab.cache_why"] = asked
            return await call_next(request)
        if not asked.refresh and (held := self._memory.get(asked.key)) is not None:
            return _hit(request, held, "exact")
        flight, leads = self._flights.board(asked.key)
        if not leads:
            waited = await flight.wait(self.options.wait_s)
            if waited is not None:
                return _hit(request, waited, "collapsed")
            return await self._upstream(request, call_next, asked, NOTHING, None)
        try:
            found = NOTHING if asked.refresh else await self._find(request, asked)
            if found.held is not None and not found.explored:
                flight.land(found.held)
                self._remember(asked, found.held)
                return _hit(request, found.held, found.tier)
            return await self._upstream(request, call_next, asked, found, flight)
        except BaseException:
            flight.land(None)
            raise

    async def _find(self, request: Request, asked: Asked) -> Found:
        """What the tiers hold; nothing where they fail."""
        route = f"{request.who.workflow}\0{request.who.agent}"
        found = await self._in_thread(self._looking, functools.partial(self.tiers.find, asked, route))
        if found is None:
            request.notes.marks["trimtab.cache_why"] = "failed"
            return NOTHING
        if found.explored:
            request.notes.marks["trimtab.cache_why"] = "explored"
        elif found.near is not None and found.held is None:
            request.notes.marks["trimtab.cache_why"] = found.near.choice.reason
        return found

    def _remember(self, asked: Asked, held: Kept) -> None:
        """For a moment: what other processes delete must be gone within a second here as well."""
        self._memory.put(asked.key, held, min(held.expires_s, time.time() + self.options.memory_s))

    async def _upstream(
        self, request: Request, call_next: Call, asked: Asked, found: Found, flight: Flight[Kept] | None
    ) -> Reply:
        """Ask, and keep the answer when it is whole; `flight` lands whatever comes of it."""
        request.notes.cache = "miss"
        reply = await call_next(request)
        keep = functools.partial(self._keep_later, request, asked, found, flight)
        if reply.status != 200:
            keep(None)
            return reply
        if reply.chunks is None:
            keep([reply.body or b""])
            return reply
        most = 4 * self.options.max_answer_bytes
        return msgspec.structs.replace(reply, chunks=taking.Taken(reply.chunks, most, keep))

    def _keep_later(
        self, request: Request, asked: Asked, found: Found, flight: Flight[Kept] | None, pieces: list[bytes] | None
    ) -> None:
        """Once the client has its answer; None where there is none to keep."""
        if pieces is None:
            _land(flight, None)
            return
        task = asyncio.get_running_loop().create_task(self._keep(request, asked, found, flight, pieces))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(
        self, request: Request, asked: Asked, found: Found, flight: Flight[Kept] | None, pieces: list[bytes]
    ) -> None:
        """Read the answer, hand it to those who wait for it, learn from it, and keep it."""
        read = functools.partial(_read, request, pieces, self.options.max_answer_bytes)
        fresh = await self._in_thread(self._keeping, read)
        if fresh is not None:
            fresh = msgspec.structs.replace(fresh, expires_s=fresh.stored_s + asked.life_s)
        admitted = fresh is not None and self._admission.admits(asked.partition.caller or request.who.user)
        if fresh is not None and admitted:
            # Before the disk has it, so that whoever asks at once again need not ask upstream.
            self._remember(asked, fresh)
        _land(flight, fresh)
        if fresh is None:
            return
        await self._in_thread(self._keeping, functools.partial(self.tiers.keep, asked, found, fresh, admitted))
        if admitted:
            self._remember(asked, fresh)

    async def _in_thread(self, threads: ThreadPoolExecutor, work: Callable[[], Done]) -> Done | None:
        """What `work` gives; None where it fails: then the cache is as good as empty."""
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        except (TrimtabError, *_BREAKING) as error:
            if time.monotonic() - self._said > _SAID_EVERY_S:
                self._said = time.monotonic()
                log.warning("the cache failed and was passed by: %s: %s", type(error).__name__, error)
            return None

    async def settled(self) -> None:
        """What was to be kept is kept."""
        while self._tasks:
            await asyncio.gather(*self._tasks)


def _land(flight: Flight[Kept] | None, held: Kept | None) -> None:
    if flight is not None:
        flight.land(held)


def _read(request: Request, pieces: list[bytes], most: int) -> Kept | None:
    """What to keep of an answer's bytes, plain or streamed."""
    body: bytes | None = b"".join(pieces)
    if request.head.streamed:
        body = taking.plain(request.dialect, request.head, pieces)
    if body is None or len(body) > most:
        return None
    found = kept.of(request.dialect, body)
    if found is None:
        return None
    return msgspec.structs.replace(found, latency_ms=request.notes.upstream_s * 1e3, stored_s=time.time())


def _hit(request: Request, held: Kept, tier: str) -> Reply:
    """The kept answer as the client asked for it."""
    reply = replaying.replay(held.dialect, held.body, request.head.streamed)
    notes = request.notes
    notes.cache = "hit"
    notes.saved = request.endpoint.price_name or held.model or request.head.model, held.usage
    notes.marks["trimtab.cache_tier"] = tier
    if held.latency_ms:
        notes.marks[SAVED_MS_TAG] = f"{held.latency_ms:.0f}"
    return reply
