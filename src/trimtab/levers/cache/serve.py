"""The cache as a Step: what may be kept is looked up, answered from what is held, or kept once upstream answered."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from trimtab.deployment import StepSpec
from trimtab.gateway.chain import Call, Reply, Request
from trimtab.levers.cache import asking, kept, options, replaying, taking
from trimtab.levers.cache.admission import Admission
from trimtab.levers.cache.asking import Asked
from trimtab.levers.cache.collapse import Flight, Flights
from trimtab.levers.cache.exact import Memory
from trimtab.levers.cache.kept import Kept
from trimtab.levers.cache.options import Options

log = logging.getLogger("trimtab.cache")

_MB = 1 << 20


def make(spec: StepSpec, folder: Path) -> Cache:
    """The step of `spec`, its entries below `folder`. ConfigError where the options are wrong."""
    return Cache(options.read(spec.options), folder)


class Cache:
    """One for each Deployment that is made ready. What takes time is done in threads of its own."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options = options
        self._memory = Memory(options.memory_mb * _MB)
        self._flights: Flights[Kept] = Flights()
        self._admission = Admission(options.admit_per_hour)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="trimtab-cache")
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, request: Request, call_next: Call) -> Reply:
        asked = asking.of(request, self.options)
        if isinstance(asked, str):
            return await self._bypass(request, call_next, asked)
        if not asked.refresh and (held := self._memory.get(asked.key)) is not None:
            return _hit(request, held, "exact")
        flight, leads = self._flights.board(asked.key)
        if not leads:
            held = await flight.wait(self.options.wait_s)
            if held is not None:
                return _hit(request, held, "collapsed")
            return await self._upstream(request, call_next, asked, None)
        try:
            return await self._upstream(request, call_next, asked, flight)
        except BaseException:
            flight.land(None)
            raise

    async def _bypass(self, request: Request, call_next: Call, why: str) -> Reply:
        request.notes.cache = "bypass"
        request.notes.marks["trimtab.cache_why"] = why
        return await call_next(request)

    async def _upstream(self, request: Request, call_next: Call, asked: Asked, flight: Flight[Kept] | None) -> Reply:
        """Ask, and keep the answer when it is whole; `flight` lands whatever comes of it."""
        request.notes.cache = "miss"
        reply = await call_next(request)
        if reply.status != 200:
            _land(flight, None)
            return reply
        if reply.chunks is None:
            self._keep_later(request, asked, [reply.body or b""], flight)
            return reply

        def on_end(pieces: list[bytes] | None) -> None:
            if pieces is None:
                _land(flight, None)
            else:
                self._keep_later(request, asked, pieces, flight)

        return msgspec.structs.replace(
            reply, chunks=taking.Taken(reply.chunks, 4 * self.options.max_answer_bytes, on_end)
        )

    def _keep_later(self, request: Request, asked: Asked, pieces: list[bytes], flight: Flight[Kept] | None) -> None:
        task = asyncio.get_running_loop().create_task(self._keep(request, asked, pieces, flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, request: Request, asked: Asked, pieces: list[bytes], flight: Flight[Kept] | None) -> None:
        """Read the answer in a thread, hand it to those who wait for it, and keep it."""
        try:
            loop = asyncio.get_running_loop()
            read = functools.partial(_read, request, pieces, self.options.max_answer_bytes)
            held = await loop.run_in_executor(self._threads, read)
        except (ValueError, TypeError, AttributeError, LookupError, RuntimeError) as error:
            log.warning("an answer could not be kept: %s: %s", type(error).__name__, error)
            held = None
        _land(flight, held)
        if held is not None and self._admission.admits(asked.partition.caller or request.who.user):
            self._memory.put(asked.key, held, held.stored_s + asked.life_s)

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
    endpoint = request.notes.endpoint or request.endpoint
    price = endpoint.price_name or found.price or request.head.model
    return msgspec.structs.replace(found, price=price, endpoint=endpoint.name, stored_s=time.time())


def _hit(request: Request, held: Kept, tier: str) -> Reply:
    """The kept answer as the client asked for it."""
    reply = replaying.replay(held.dialect, held.body, request.head.streamed)
    notes = request.notes
    notes.cache, notes.saved = "hit", (held.price, held.usage)
    notes.marks["trimtab.cache_tier"] = tier
    return reply
