"""The demo: engine, gateway and dealership on this machine, every call recorded and priced; then where it all went."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import msgspec
from rich.console import Console

from trimtab.arena.client import Target
from trimtab.arena.dealership import tasks
from trimtab.arena.run import Active, Pace, Run, Session
from trimtab.config import shipped_prices
from trimtab.engines.embedded import EmbeddedEngine
from trimtab.gateway.process import GatewayProcess
from trimtab.money import PriceTable, Usage
from trimtab.ui.live import Header, Live, Progress, Running

CONFIG = """\
# Written by `trimtab demo`: the gateway in front of the embedded engine.
[gateway]
port = 0

[store]
folder = {folder}

[[endpoints]]
name = "engine"
url = {url}
model = {model}
price = {price}
# The answers are ours to learn from.
licence = "own"
"""
REFRESH_S = 0.25


class Options(msgspec.Struct, frozen=True):
    """What to play: `sessions` customers, `speed` times as fast as they would come, at most `concurrency` at once."""

    store: Path
    model: str = "dealer-teacher"
    price: str = "gpt-4o"
    sessions: int = 600
    concurrency: int = 8
    speed: float = 7.0
    seed: int = 0


class Service(msgspec.Struct, frozen=True):
    """What is up while the demo runs."""

    gateway_url: str
    model: str


@contextlib.contextmanager
def service(options: Options, say: Callable[[str], None]) -> Iterator[Service]:
    """The engine and the gateway on free loopback ports; both are gone when the block ends, however it ends."""
    say("starting the engine: loading the model and building its graph")
    with EmbeddedEngine([options.model], max_seqs=options.concurrency) as engine:
        say(f"engine ready at {engine.url}")
        options.store.mkdir(parents=True, exist_ok=True)
        config = options.store / "trimtab.toml"
        config.write_text(
            CONFIG.format(
                folder=_toml(str(options.store)),
                url=_toml(engine.url),
                model=_toml(engine.models[0]),
                price=_toml(options.price),
            )
        )
        with GatewayProcess(config) as gateway:
            say(f"gateway ready at {gateway.url}, recording into {options.store}")
            yield Service(gateway.url, engine.models[0])


def _toml(text: str) -> str:
    """A TOML basic string; its escapes are JSON's."""
    return msgspec.json.encode(text).decode()


def play(options: Options, up: Service, console: Console, before: int = 0) -> Run:
    """Play the sessions through the gateway with a live view, and hand each one's success to its trace. `before` are
    the customers of the same draw that came already."""
    todo = tasks.draw("test", before + options.sessions, options.seed)[before:]
    run = Run(Target(up.gateway_url, up.model), todo, Pace(options.concurrency, options.speed))
    header = Header(up.model, up.gateway_url, options.price, title="Harbor Road Motors, served through Trimtab")
    with Live(header, console) as view:
        asyncio.run(_watched(run, up, view, options.price))
    return run


async def _watched(run: Run, up: Service, view: Live, price: str) -> None:
    prices = shipped_prices()
    ended: asyncio.Queue[Session | None] = asyncio.Queue()
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        group.create_task(_score(http, up.gateway_url, ended))
        playing = group.create_task(run.play(ended.put_nowait))
        while not playing.done():
            view.update(progress(run, prices, price))
            await asyncio.wait({playing}, timeout=REFRESH_S)
        view.update(progress(run, prices, price))
        ended.put_nowait(None)


async def _score(http: aiohttp.ClientSession, gateway_url: str, ended: asyncio.Queue[Session | None]) -> None:
    """Tell the gateway how each session ended, as an application would give feedback."""
    while (session := await ended.get()) is not None:
        score = {"trace_id": session.trace_id, "name": "success", "value": float(session.solved), "source": "oracle"}
        async with http.post(f"{gateway_url}/scores", json=score) as response:
            response.raise_for_status()


def progress(run: Run, prices: PriceTable, price: str) -> Progress:
    """How far a run is, for the live view; sessions still running are counted in."""
    now = time.perf_counter()
    callers = [active.caller.used for active in run.active.values() if active.caller is not None]
    used_in = sum(s.input_tokens for s in run.sessions) + sum(u.input_tokens for u in callers)
    used_out = sum(s.output_tokens for s in run.sessions) + sum(u.output_tokens for u in callers)
    cached = sum(s.cached_tokens for s in run.sessions) + sum(u.cached_tokens for u in callers)
    cost = prices.cost(price, Usage(input_tokens=used_in, output_tokens=used_out, cache_read_tokens=cached))
    running = tuple(_running(active, now) for active in run.active.values())
    return Progress(
        total=len(run.plan),
        done=len(run.sessions),
        solved=sum(s.solved for s in run.sessions),
        running=running,
        calls=sum(s.calls for s in run.sessions) + sum(u.calls for u in callers),
        errors=sum(s.why == "no answer" for s in run.sessions),
        input_tokens=used_in,
        output_tokens=used_out,
        cost_nanodollars=cost.nanodollars if cost else None,
        seconds=now - run.started if run.started else 0.0,
    )


def _running(active: Active, now: float) -> Running:
    agent, said, action = active.action.partition(": ")
    if not said:
        agent, action = "", active.action
    return Running(active.session, active.family.replace("_", " "), agent, action, now - active.started)
