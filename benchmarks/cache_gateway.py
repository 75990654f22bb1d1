"""What the cache costs and saves in the gateway: hits beside the calls they stand for, misses beside no cache, and how
long it keeps the event loop.

Real gateway processes before one model server of ours on loopback. Times are of this machine, whatever else runs on
it; the turns of the event loop are in CPU time, so that they are not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import results
from tests.gateway.upstream import FakeUpstream, Script, answer
from tests.levers.cache.requests import chat, completion, read, request

from trimtab.deployment import StepSpec
from trimtab.gateway.chain import Reply, fold
from trimtab.gateway.process import GatewayProcess
from trimtab.gateway.trial import SHADOW
from trimtab.levers.cache import serve
from trimtab.store.traces import TraceReader
from trimtab.trace import CACHE_TAG, SAVED_MS_TAG

CONFIG = """
endpoints = [{{ name = "e", url = "{url}", model = "m", price = "gpt-4o" }}]
{steps}
[gateway]
port = 0
[store]
folder = "{store}"
"""
STEP = '[[steps]]\nlever = "cache"\noptions = { admit_per_hour = 1e9, explore = 0 }\n'
WORDS = "car van tyre door price colour seat belt mirror engine brake light glass roof wheel paint battery radio"
CALL_S = 0.3  # of a short answer by a small model; the demo's own take longer


def question(chance: random.Random) -> str:
    return f"How do I {' '.join(chance.sample(WORDS.split(), 6))}?"


class Client:
    """One kept connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def ask(self, text: str) -> tuple[str, float]:
        """What the cache said, and milliseconds."""
        body = json.dumps(chat(text)).encode()
        began = time.perf_counter()
        self._connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        response.read()
        return response.getheader("x-trimtab-cache", ""), (time.perf_counter() - began) * 1e3


@contextlib.contextmanager
def gateway(folder: Path, url: str, steps: str) -> Iterator[Client]:
    folder.mkdir()
    config = folder / "trimtab.toml"
    config.write_text(CONFIG.format(url=url, steps=steps, store=folder / "store"))
    with GatewayProcess(config) as process:
        yield Client(process.url)


def hits(folder: Path, n: int) -> dict[str, float]:
    """Each question three times: the call, then two hits."""
    chance = random.Random(1)
    calls: list[float] = []
    again: list[float] = []
    with FakeUpstream() as upstream:
        upstream.script = lambda seen: Script(body=answer("m"), wait_s=CALL_S)
        with gateway(folder, upstream.url, STEP) as client:
            time.sleep(3)  # the encoder
            for _ in range(n):
                text = question(chance)
                calls.append(client.ask(text)[1])
                time.sleep(0.7)  # past the memory, so that the rows are read
                for _ in range(2):
                    said, ms = client.ask(text)
                    again += [ms] if said == "hit" else []
    return {"call_ms": statistics.median(calls), "hit_ms": statistics.median(again), "hits": len(again)}


def misses(folder: Path, n: int) -> dict[str, float]:
    """Questions nobody asked before, in turn to a gateway with the cache and to one without."""
    chance = random.Random(2)
    times: dict[str, list[float]] = {"on": [], "off": []}
    with (
        FakeUpstream() as upstream,
        gateway(folder / "on", upstream.url, STEP) as on,
        gateway(folder / "off", upstream.url, "") as off,
    ):
        upstream.script = lambda seen: Script(body=answer("m"))
        time.sleep(3)
        for _ in range(n):
            text = question(chance)
            for name, client in (("on", on), ("off", off)):
                times[name].append(client.ask(text)[1])
    found = {f"{name}_ms": statistics.median(some) for name, some in times.items()}
    lost = [a - b for a, b in zip(times["on"], times["off"], strict=True)]
    return {**found, "lost_ms": statistics.median(lost)}


def turns(folder: Path, n: int) -> dict[str, float]:
    """CPU milliseconds of each turn of the event loop while `n` requests, a third of them hits, pass the step."""
    spent: list[float] = []
    run = asyncio.events.Handle._run

    def timed(self: asyncio.Handle) -> None:
        began = time.thread_time()
        run(self)
        spent.append((time.thread_time() - began) * 1e3)

    async def upstream(request: object) -> Reply:
        return Reply(status=200, body=json.dumps(completion("At nine. " * 200)).encode())

    async def play() -> None:
        cache = serve.make(StepSpec("cache", options={"admit_per_hour": 1e9, "memory_s": 0.0}), folder)
        chain, chance = fold([("cache", cache)], upstream), random.Random(3)
        while cache.tiers.semantic is None:
            await asyncio.sleep(0.05)
        asyncio.events.Handle._run = timed  # type: ignore[method-assign]
        asked: list[str] = []
        for _ in range(n):
            asked.append(chance.choice(asked) if asked and chance.random() < 0.33 else question(chance))
            for streamed in (False, True):
                await read(await chain(request({**chat(asked[-1]), "stream": streamed})))
            await cache.settled()

    try:
        asyncio.run(play())
    finally:
        asyncio.events.Handle._run = run  # type: ignore[method-assign]
    spent.sort()
    return {"turns": len(spent), "p999_ms": spent[int(len(spent) * 0.999)], "longest_ms": spent[-1]}


def main(n: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "misses").mkdir()
        return {
            "hits": hits(home / "hits", max(10, n // 10)),
            "misses": misses(home / "misses", n),
            "turns": turns(home / "turns", n),
        }


def demo(store: Path) -> dict[str, float]:
    """The hits recorded in the store of a demo, beside the calls they stood for."""
    calls = [call for trace in TraceReader(store).scan(bodies=False) for call in trace.calls]
    kept = [call for call in calls if call.tags.get(CACHE_TAG) == "hit" and SHADOW not in call.tags]
    return {
        "hits": len(kept),
        "hit_ms": statistics.median(call.duration_ms for call in kept),
        "call_ms": statistics.median(float(call.tags.get(SAVED_MS_TAG, "nan")) for call in kept),
    }


def rows(found: dict[str, dict[str, float]]) -> list[list[str]]:
    """Bars beside what was measured."""
    made = []
    for name, what in (("hits", "an exact hit, its call 300 ms"), ("demo", "a hit in the demo")):
        if name in found:
            its = found[name]
            part = its["call_ms"] / its["hit_ms"]
            shown = f"1/{part:.1f}: {its['hit_ms']:.2f} ms for {its['call_ms']:.1f} ms, {its['hits']:.0f} hits"
            made.append([what, "≤ 1/50 of its call", shown, "holds" if part >= 50 else "falls short"])
    lost, turn = found["misses"]["lost_ms"], found["turns"]["p999_ms"]
    made.append(["a miss loses", "≤ 5 ms", f"{lost:.2f} ms", "holds" if lost <= 5 else "falls short"])
    longest = f"{turn:.2f} ms of CPU at the 99.9th percentile, {found['turns']['longest_ms']:.2f} at most"
    made.append(["a turn of the event loop", "≤ 2 ms", longest, "holds" if turn <= 2 else "falls short"])
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", type=int, nargs="?", default=200, help="requests of each kind")
    parser.add_argument("--demo", type=Path, metavar="STORE", help="also the hits recorded there")
    parser.add_argument("--publish", action="store_true", help="append the table to RESULTS.md")
    args = parser.parse_args()
    found = main(args.n) | ({"demo": demo(args.demo)} if args.demo else {})
    heads, table = ("case", "must be", "measured", "verdict"), rows(found)
    if args.publish:
        note = "Gateway, model server and client at real-time priority; one request at a time."
        results.publish("cache, in the gateway", heads, table, note)
    else:
        print("\n".join(" | ".join(row) for row in (heads, *table)))
    sys.exit(any(row[-1] == "falls short" for row in table))
