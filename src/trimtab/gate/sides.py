"""Sides: the two Deployments of a comparison as the user names them, and what each is exactly."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import aiohttp
import msgspec

from trimtab import config, verdict
from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError, UpstreamError
from trimtab.money import PriceTable

_PATIENCE_S = 10.0
# A bare address has no place to name a variable. Not a provider's own: its key would go to whatever address is typed.
_KEY_ENV = "TRIMTAB_KEY"


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """A Deployment, the `model` to ask it for, the prices it is counted at, and the system `prompt` that takes the
    place of the items' own (empty: theirs). `source` is what the user wrote."""

    source: str
    deployment: Deployment
    model: str
    prices: PriceTable
    prompt: str = ""
    prompt_file: str = ""

    @property
    def fingerprint(self) -> str:
        """Of the Deployment and the prompt; not of the model that is asked for, which is one of what it serves."""
        return verdict.fingerprint(self.deployment, self.prompt)


def named(text: str, prompt_file: str = "") -> Side:
    """The side that `text` names: a TOML file, `FILE#model`, or `URL#model`. ConfigError says what is wrong with it."""
    place, _, model = text.partition("#")
    prompt = _prompt(prompt_file)
    if place.startswith(("http://", "https://")):
        return _at_url(text, place, model, (prompt, prompt_file))
    settings = config.read(Path(place))
    deployment = settings.deployment()
    if not model and len(deployment.models) > 1:
        known = ", ".join(deployment.models)
        raise ConfigError(f"{place} serves {known}: name the one to ask for, as in {place}#{deployment.models[0]}")
    asked = model or deployment.models[0]
    if deployment.endpoint_for(asked) is None:
        raise ConfigError(f"{place} serves no '{asked}': use one of {', '.join(deployment.models)}")
    return Side(
        source=text,
        deployment=deployment,
        model=asked,
        prices=settings.price_table(),
        prompt=prompt,
        prompt_file=prompt_file,
    )


def _at_url(text: str, url: str, model: str, prompt: tuple[str, str]) -> Side:
    if not model or not (parts := _parts(url)).hostname:
        raise ConfigError(f"'{text}' names no model at an address: write it like http://127.0.0.1:8400/v1#gpt-4o")
    if parts.username or parts.password or parts.query:
        # Addresses end up in reports and in the ledger.
        raise ConfigError(
            f"the address of '{model}' holds a key or a query: put the key into {_KEY_ENV}, or use a file"
        )
    endpoint = Endpoint(
        name="only", url=url.rstrip("/"), model=model, key_env=_KEY_ENV if os.environ.get(_KEY_ENV) else ""
    )
    deployment = Deployment(name="url", endpoints=(endpoint,))
    prices = config.shipped_prices()
    return Side(source=text, deployment=deployment, model=model, prices=prices, prompt=prompt[0], prompt_file=prompt[1])


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # a bracket left open
        return urlsplit("")


def _prompt(file: str) -> str:
    if not file:
        return ""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"cannot read the prompt {file}: {error}") from error
    if not text.strip():
        raise ConfigError(f"the prompt {file} is empty: leave the option out to keep the suite's own")
    return text


def again(side: Side) -> Side:
    """The side read anew from what the user wrote: equal to `side` unless a file was changed in between."""
    return named(side.source, side.prompt_file)


def prompted(body: dict[str, Any], prompt: str) -> dict[str, Any]:
    """A chat request with `prompt` as its system message, in the place of its own."""
    if not prompt:
        return body
    rest = [message for message in body.get("messages", []) if not _is_system(message)]
    return {**body, "messages": [{"role": "system", "content": prompt}, *rest]}


def _is_system(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in ("system", "developer")


def system_prompts(bodies: Iterable[dict[str, Any]], most: int = 64) -> tuple[str, ...]:
    """Digests of the system prompts of chat requests, sorted; only the first `most`."""
    found = set()
    for body in bodies:
        for message in body.get("messages", []):
            if _is_system(message):
                found.add(verdict.prompt_digest(json.dumps(message.get("content"), sort_keys=True)))
    return tuple(sorted(found)[:most])


async def said_of_models(side: Side) -> str:
    """The model that is asked for, with a digest of what each endpoint's server says of its own (GET /models): the id
    and every field beside it but the time. A server that lists nothing counts as silent; UpstreamError where nothing
    answers."""
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        told = await asyncio.gather(*[_one(http, endpoint) for endpoint in side.deployment.endpoints])
    return f"{side.model} {verdict.digest(told)}"


async def _one(http: aiohttp.ClientSession, endpoint: Endpoint) -> list[str]:
    key = os.environ.get(endpoint.key_env, "") if endpoint.key_env else ""
    headers = {"authorization": f"Bearer {key}", "x-api-key": key} if key else {}
    try:
        async with http.get(f"{endpoint.url.rstrip('/')}/models", headers=headers) as response:
            body = await response.read()
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        raise UpstreamError(f"nothing answers at {endpoint.url}: start it, or correct the address") from error
    return [endpoint.name, *_models(body, endpoint.model)]


def _models(body: bytes, model: str) -> list[str]:
    """What a list of models says of `model`, or of all of them where none is named; nothing where it is none."""
    try:
        listed = json.loads(body)["data"]
        held = [each for each in listed if not model or each.get("id") == model]
        return sorted(json.dumps({k: v for k, v in each.items() if k != "created"}, sort_keys=True) for each in held)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []
