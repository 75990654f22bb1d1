"""Replay: asks one item of a deployment over HTTP, streamed, and keeps what came, how good, how fast and how dear."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
import msgspec

from trimtab.deployment import Deployment
from trimtab.errors import TrimtabError, UpstreamError
from trimtab.evals import answer as answers
from trimtab.evals.answer import Answer
from trimtab.evals.judge import Judge
from trimtab.evals.suite import Item
from trimtab.gateway import sse
from trimtab.gateway.assembly import Assembly
from trimtab.money import PriceTable, usage_of

WORKFLOW = "gate"


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item asked once of one deployment.

    `score` is None where it is missing: the judge could not tell (`reason`), or there is no answer (`error`).
    Seconds: `ttft_s` until the first content, `itl_s` the mean time of a token after it, `total_s` until the end.
    Tokens are None where nobody counted them; `cost_nanodollars` where tokens or price are unknown. `fingerprint` is
    what the deployment says of who answered: endpoint, model and the provider's own word for its build.
    """

    item: str
    cluster: str
    slices: tuple[str, ...] = ()
    answer: Answer = Answer()
    score: float | None = None
    reason: str = ""
    ttft_s: float | None = None
    itl_s: float | None = None
    total_s: float
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int = 0
    cost_nanodollars: int | None = None
    cache: str = ""
    fingerprint: str = ""
    error: str = ""

    @property
    def solved(self) -> bool | None:
        """Whether the answer is right, from a score of a half on; None where the score is missing."""
        return None if self.score is None else self.score >= 0.5


class Rates(msgspec.Struct, frozen=True):
    """What an answer costs: the price table, and under which name each endpoint's price is found in it."""

    prices: PriceTable
    names: dict[str, str]

    @staticmethod
    def of(deployment: Deployment, prices: PriceTable) -> Rates:
        return Rates(prices, {endpoint.name: endpoint.price_name for endpoint in deployment.endpoints})


class _Heard(NamedTuple):
    """A stream as it was heard: the whole of it, its headers, and when content came."""

    whole: dict[str, Any]
    headers: Mapping[str, str]
    first_s: float | None
    last_s: float
    pieces: int


async def ask(
    http: aiohttp.ClientSession, target_url: str, model: str, item: Item, judge: Judge, rates: Rates | None = None
) -> Outcome:
    """Ask `model` at `target_url` (ends in /v1) for `item` and have the answer judged.

    Never raises for what the target or the judge does: it is in `error` or `reason`. The cost is the gateway's own
    where it says it in a header, else usage × price by `rates`.
    """
    began = time.perf_counter()
    try:
        heard = await _hear(http, target_url, _request(model, item), _headers(item))
        answer = answers.of(heard.whole)
        if answer is None:
            raise UpstreamError(f"{target_url} gave an answer without choices")
    except UpstreamError as error:
        return Outcome(
            item=item.id,
            cluster=item.cluster,
            slices=item.slices,
            total_s=time.perf_counter() - began,
            error=str(error),
        )
    total_s = time.perf_counter() - began
    try:
        judged = await judge.score(item, answer)
        score, reason = judged.score, judged.reason
    except TrimtabError as error:
        score, reason = None, str(error)
    return Outcome(
        item=item.id,
        cluster=item.cluster,
        slices=item.slices,
        answer=answer,
        score=score,
        reason=reason,
        total_s=total_s,
        **_measured(heard, began, rates),
    )


def _request(model: str, item: Item) -> dict[str, Any]:
    body = {**item.body, "model": model, "stream": True}
    options = body.get("stream_options")
    return {**body, "stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True}}


def _headers(item: Item) -> dict[str, str]:
    """Header values are printable ASCII; ids of suites may be anything."""
    session = quote(item.cluster, safe=" !#$&'()*+,/:;=?@[]")
    return {"x-trimtab-workflow": WORKFLOW, "x-trimtab-session": session}


async def _hear(http: aiohttp.ClientSession, url: str, body: dict[str, Any], headers: dict[str, str]) -> _Heard:
    """UpstreamError where no whole answer came."""
    address = url.rstrip("/") + "/chat/completions"
    try:
        async with http.post(address, json=body, headers=headers) as response:
            if response.status != 200:
                raise UpstreamError(f"{address} answered {response.status}: {reason_of(await response.read())}")
            if response.content_type != "text/event-stream":
                # A step may answer whole, a cache for instance.
                whole = _decoded(await response.read())
                now = time.perf_counter()
                return _Heard(whole if isinstance(whole, dict) else {}, response.headers, now, now, 1)
            return await _streamed(response)
    except (aiohttp.ClientError, OSError, ValueError) as error:  # a TimeoutError is an OSError
        raise UpstreamError(f"{address} does not answer: {_line(str(error)) or type(error).__name__}") from error


async def _streamed(response: aiohttp.ClientResponse) -> _Heard:
    splitter, assembly = sse.Splitter(), Assembly()
    first: float | None = None
    last, pieces = 0.0, 0
    async for data in response.content.iter_any():
        now = time.perf_counter()
        for event in splitter.feed(data):
            text = sse.data(event)
            if text is None or text.strip() == b"[DONE]":
                continue
            chunk = _decoded(text)
            if not isinstance(chunk, dict) or chunk.get("error"):
                raise UpstreamError(f"the stream ended with an error: {reason_of(text)}")
            assembly.add(chunk)
            if _speaks(chunk):
                first, last, pieces = first or now, now, pieces + 1
    if not assembly.finished:
        raise UpstreamError("the stream was cut before the answer was whole")
    return _Heard(assembly.answer() or {}, response.headers, first, last, pieces)


def _speaks(chunk: dict[str, Any]) -> bool:
    """Whether the chunk holds a piece of the answer, and not only a role, a reason to end or the usage."""
    choices = chunk.get("choices")
    deltas = (
        [choice.get("delta") for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    )
    return any(held for delta in deltas if isinstance(delta, dict) for name, held in delta.items() if name != "role")


def _measured(heard: _Heard, began: float, rates: Rates | None) -> dict[str, Any]:
    """The numbers of an Outcome that come from the answer's times, usage and headers."""
    usage = usage_of(heard.whole.get("usage"))
    headers, model = heard.headers, heard.whole.get("model")
    endpoint, cost = headers.get("x-trimtab-endpoint", ""), _nanodollars(headers.get("x-trimtab-cost"))
    cache = headers.get("x-trimtab-cache", "")
    if cost is None and cache == "hit" and not endpoint:
        cost = 0  # No model was asked.
    if cost is None and rates is not None and usage is not None:
        name = rates.names.get(endpoint) or (model if isinstance(model, str) else "")
        found = rates.prices.cost(name, usage)
        cost = None if found is None else found.nanodollars
    # Tokens may come several at once: where they are counted, the time between events is not the time of a token.
    steps = max(heard.pieces, usage.output_tokens if usage else 0) - 1
    spread = heard.last_s - heard.first_s if heard.first_s is not None else 0.0
    build = heard.whole.get("system_fingerprint")
    return {
        "ttft_s": None if heard.first_s is None else heard.first_s - began,
        "itl_s": spread / steps if heard.pieces > 1 and steps > 0 else None,
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cached_tokens": usage.cache_read_tokens if usage else 0,
        "cost_nanodollars": cost,
        "cache": cache,
        "fingerprint": "/".join(part for part in (endpoint, model, build) if isinstance(part, str) and part),
    }


def _nanodollars(header: str | None) -> int | None:
    try:
        return None if header is None else round(float(header) * 1e9)
    except (ValueError, OverflowError):
        return None


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UpstreamError(f"the deployment sent what is no JSON: {_line(text.decode(errors='replace'))}") from error


def reason_of(text: bytes) -> str:
    """The message of an OpenAI-shaped error body, else the start of the text; one line."""
    try:
        return _line(str(json.loads(text)["error"]["message"]))
    except (ValueError, LookupError, TypeError, RecursionError):
        return _line(text.decode(errors="replace")) or "no text"


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
