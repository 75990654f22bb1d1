"""Replays recorded sessions against an endpoint: closed loop (so many at once) or open (as customers came)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

import aiohttp
import msgspec

from trimtab.bench.traffic import Move, Work, is_right
from trimtab.errors import UpstreamError
from trimtab.gateway import sse
from trimtab.gateway.assembly import Assembly

MAX_TOKENS = 160


class Replayed(msgspec.Struct):
    """What came of it. Times are in seconds; `sessions` by name: whether every move was right."""

    requests: int = 0
    tokens: int = 0
    wall_s: float = 0.0
    ttft_s: list[float] = []
    latency_s: list[float] = []
    sessions: dict[str, bool] = {}
    moves_right: int = 0
    drafted: int = 0
    taken: int = 0


async def closed(url: str, model: str, works: Sequence[Work], concurrency: int) -> Replayed:
    """Each of `concurrency` workers plays one session after the other, request by request. UpstreamError."""
    waiting = list(reversed(works))
    replayed = Replayed()

    async def worker(http: aiohttp.ClientSession) -> None:
        while waiting:
            await _session(http, url, model, waiting.pop(), replayed)

    async with _client() as http:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(works))):
                group.create_task(worker(http))
        replayed.wall_s = time.perf_counter() - begun
    return replayed


async def opened(url: str, model: str, works: Sequence[Work], sessions_a_second: float) -> Replayed:
    """Sessions come at their recorded distances, scaled to `sessions_a_second` on average. UpstreamError."""
    replayed = Replayed()
    first, last = works[0].arrival_s, works[-1].arrival_s
    scale = (len(works) - 1) / sessions_a_second / max(last - first, 1e-9)

    async def customer(http: aiohttp.ClientSession, work: Work) -> None:
        await asyncio.sleep((work.arrival_s - first) * scale)
        await _session(http, url, model, work, replayed)

    async with _client() as http:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(customer(http, work))
        replayed.wall_s = time.perf_counter() - begun
    return replayed


def _client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None, sock_read=600)
    )


async def _session(http: aiohttp.ClientSession, url: str, model: str, work: Work, replayed: Replayed) -> None:
    """The turns before each request are the recorded ones, whatever was answered: all setups get the same work."""
    right = True
    for move in work.moves:
        good = await _ask(http, url, model, move, replayed)
        right = right and good
        replayed.moves_right += good
    replayed.sessions[work.name] = right


async def _ask(http: aiohttp.ClientSession, url: str, model: str, move: Move, replayed: Replayed) -> bool:
    body = {"model": model, "messages": move.messages, "tools": move.tools, "temperature": 0, "max_tokens": MAX_TOKENS}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    splitter, assembly, first = sse.Splitter(), Assembly(), 0.0
    begun = time.perf_counter()
    try:
        async with http.post(f"{url}/chat/completions", json=body) as response:
            if response.status != 200:
                raise UpstreamError(f"{url} answered {response.status}: {(await response.text())[:200]}")
            async for data in response.content.iter_any():
                first = first or time.perf_counter()
                for event in splitter.feed(data):
                    text = sse.data(event)
                    if text is not None and text.strip() != b"[DONE]":
                        assembly.add(json.loads(text))
    except (aiohttp.ClientError, OSError) as error:
        raise UpstreamError(f"{url} went away in the middle of the replay: {error}") from error
    if not assembly.finished:
        raise UpstreamError(f"{url} cut an answer short in the middle of the replay")
    ended = time.perf_counter()
    answer = assembly.answer() or {}
    usage = answer.get("usage") or {}
    details = usage.get("completion_tokens_details") or {}
    taken = details.get("accepted_prediction_tokens", 0)
    replayed.requests += 1
    replayed.tokens += usage.get("completion_tokens", 0)
    replayed.ttft_s.append(first - begun)
    replayed.latency_s.append(ended - begun)
    replayed.taken += taken
    replayed.drafted += taken + details.get("rejected_prediction_tokens", 0)
    return is_right(move, answer["choices"][0]["message"])
