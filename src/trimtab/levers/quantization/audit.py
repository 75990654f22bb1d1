"""The audit: recorded calls asked of the old model and the new one through real servers, and who flips, by class.

The old one is asked twice: what flips then too (A/A) is no fault of the new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec

from trimtab.engines.embedded import EmbeddedEngine
from trimtab.errors import FormatError
from trimtab.evals import answer as answers
from trimtab.evals import drift, replay
from trimtab.evals.answer import Answer
from trimtab.evals.drift import Drift, Flips
from trimtab.evals.judge import Judgement, right, wrong
from trimtab.evals.replay import Outcome
from trimtab.evals.suite import Item
from trimtab.levers.quantization import samples
from trimtab.trace import EndState, Trace

_OURS = ("model", "stream", "stream_options")
AT_ONCE = 4


class AsRecorded:
    """Right is what the recorded answer says: the same calls and, but for white space, the same words."""

    version = "as-recorded-1"

    async def score(self, item: Item, answer: Answer) -> Judgement:
        before = msgspec.convert(item.expected, Answer)
        if answer.tool_calls != before.tool_calls:
            return wrong("other tool calls")
        return right() if answer.words == before.words else wrong("other words")


class Place(NamedTuple):
    """A model at an address that ends in /v1."""

    url: str
    model: str


def items(traces: Iterable[Trace], most: int) -> list[Item]:
    """Recorded chat calls as items, newest first; slices are `agent NAME` and the class of the answer.

    FormatError where there are none.
    """
    found = []
    for trace in traces:
        for call in trace.calls:
            payload = trace.payloads.get(call.id)
            if payload is None or payload.response is None or call.end is not EndState.COMPLETE:
                continue
            message, answer = samples.answer_of(payload.response), answers.of(payload.response)
            if message is None or answer is None or not isinstance(payload.request.get("messages"), list):
                continue
            body = {name: held for name, held in payload.request.items() if name not in _OURS}
            item = Item(
                call.id,
                call.session or trace.id,
                {**body, "temperature": 0},
                msgspec.to_builtins(answer),
                (f"agent {call.agent or '?'}", samples.kind_of(message)),
            )
            found.append((call.started_ns, item))
    if not found:
        raise FormatError("no recorded call has both its bodies: record with store.record = 'full', then try again")
    found.sort(key=lambda pair: (-pair[0], pair[1].id))
    return [item for _, item in found[:most]]


def run(asked: Sequence[Item], model: str, artifact: Path, told: Callable[[], None] | None = None) -> Drift:
    """Both models by the embedded engine, the old one in BF16; `told()` after each item."""
    with EmbeddedEngine([f"before={model}", f"after={artifact}"], max_seqs=AT_ONCE) as engine:
        return asyncio.run(between(asked, Place(engine.url, "before"), Place(engine.url, "after"), told))


async def between(asked: Sequence[Item], before: Place, after: Place, told: Callable[[], None] | None = None) -> Drift:
    """The drift of `after` from `before` over the items."""
    places = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as http:

        async def one(item: Item) -> tuple[Outcome, Outcome, Outcome]:
            async with places:
                first, new, again = [
                    await replay.ask(http, place.url, place.model, item, AsRecorded())
                    for place in (before, after, before)
                ]
            if told is not None:
                told()
            return first, new, again

        found = await asyncio.gather(*(one(item) for item in asked))
    return drift.report([(first, new) for first, new, _ in found], [(first, again) for first, _, again in found])


def rows(found: Drift) -> list[dict[str, Any]]:
    """The whole, then each slice: flips both ways, the old model's own, and what is left of them."""
    return [_row("all", found.flips), *(_row(name, flips) for name, flips in found.slices.items())]


def _row(name: str, flips: Flips) -> dict[str, Any]:
    excess, interval = flips.excess, flips.interval
    return {
        "slice": name,
        "n": flips.n,
        "right to wrong": flips.losses,
        "wrong to right": flips.gains,
        "flips": f"{flips.share:.1%} [{interval.low:.1%}, {interval.high:.1%}]",
        "of the old by itself": "unknown" if flips.noise is None else f"{flips.noise:.1%}",
        "beyond it": "unknown" if excess is None else f"{excess:+.1%}",
    }
