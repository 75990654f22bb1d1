"""The doctor: looks at all that serving needs; says of each thing that it is well, or what to do. Alters nothing."""

from __future__ import annotations

import asyncio
import email.utils
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import msgspec

from trimtab import config
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError, StoreError
from trimtab.gateway import leg, live
from trimtab.gateway.telemetry import collector, otlp, semconv
from trimtab.money import PriceTable
from trimtab.store import schema

TIMEOUT_S = 5.0
# Read-only connections to a WAL file that nobody has open came with it.
_SQLITE = (3, 22, 0)
_SKEW_S = 30
# 2026-01-01 UTC: this program is younger than that.
_EARLIEST_S = 1_767_225_600
_LEAST_FREE = 1 << 30
_MAX_LISTING = 4 << 20


class Check(msgspec.Struct, frozen=True):
    """One thing looked at: `said` is what was found or, where it is not `ok`, what to do."""

    name: str
    ok: bool
    said: str


class _Listing(msgspec.Struct):
    """The answer of GET models, as far as it is read."""

    class Model(msgspec.Struct):
        id: str = ""

    data: list[Model] = []
    # Anthropic lists by pages.
    has_more: bool = False


def examine(path: Path) -> list[Check]:
    """Check the configuration at `path` and everything that it names.

    Endpoints are asked for their models, all at the same time, and have TIMEOUT_S to answer.
    """
    try:
        settings = config.read(path)
        settings.deployment()
    except ConfigError as error:
        return [Check("config", False, str(error)), sqlite_version(sqlite3.sqlite_version_info)]
    routes = f"{len(settings.endpoints)} endpoints, {len(settings.routes)} routes"
    checks, skews = asyncio.run(_endpoints(settings.endpoints))
    folder = Path(settings.store.folder)
    return [
        Check("config", True, f"{path}: {routes}"),
        *checks,
        *prices(settings),
        clock(time.time(), skews, schema.day_files(folder)),
        sqlite_version(sqlite3.sqlite_version_info),
        _store(settings.store),
        *_telemetry(settings.telemetry),
        disk(folder, _LEAST_FREE),
    ]


async def _endpoints(endpoints: Sequence[Endpoint]) -> tuple[list[Check], dict[str, float]]:
    """The checks, and by endpoint the seconds by which its clock is ahead of ours."""
    skews: dict[str, float] = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as client:
        checks = await asyncio.gather(*(_endpoint(client, endpoint, skews) for endpoint in endpoints))
    return list(checks), skews


async def _endpoint(client: aiohttp.ClientSession, endpoint: Endpoint, skews: dict[str, float]) -> Check:
    name = f"endpoint {endpoint.name}"
    try:
        live.check(endpoint)
    except ConfigError as error:
        return Check(name, False, str(error))
    # Asked as calls ask it: a server of messages wants its key elsewhere, and a version.
    own = {name.decode(): held.decode("latin-1") for name, held in leg.own(endpoint)}
    headers = {"Accept-Encoding": "identity", **own}
    try:
        url = endpoint.url.rstrip("/") + ("/models?limit=1000" if endpoint.dialect == "messages" else "/models")
        async with client.get(url, headers=headers, allow_redirects=False) as response:
            _note_time(response.headers.get("Date"), endpoint.name, skews)
            content = await response.content.read(_MAX_LISTING) if response.status == 200 else b""
    except TimeoutError:
        return Check(name, False, f"{endpoint.url} did not answer within {TIMEOUT_S:g} s: check that it runs")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
        return Check(name, False, f"{endpoint.url} cannot be reached ({why}): check its url and that it runs")
    return Check(name, *_answered(endpoint, response.status, content))


def _answered(endpoint: Endpoint, status: int, content: bytes) -> tuple[bool, str]:
    """Whether an answer to GET models is well, and what it means."""
    if status in (401, 403):
        if endpoint.key_env:
            return False, f"refuses the key in {endpoint.key_env} ({status}): put a good one there"
        return True, "answers, and wants a key: clients must bring theirs, or set key_env"
    if status in (404, 405):
        return True, "answers, and lists no models"
    if status != 200:
        return False, f"answers GET {endpoint.url}/models with {status}: check its url, and its own log"
    try:
        listing = msgspec.json.decode(content, type=_Listing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False, f"{endpoint.url}/models is no list of models: check its url (it usually ends in /v1)"
    listed, wanted = [model.id for model in listing.data], endpoint.model
    if listing.has_more:
        return True, f"answers, {len(listed)} models and more"
    # Ollama and its like serve `name:tag` under `name` as well.
    if wanted and listed and not any(held == wanted or held.startswith(f"{wanted}:") for held in listed):
        some = ", ".join(listed[:5])
        return False, f"does not list its model '{wanted}' (but {some}): correct `model`, unless calls go through"
    return True, f"answers, {len(listed)} models"


def _note_time(date: str | None, name: str, skews: dict[str, float]) -> None:
    try:
        told = email.utils.parsedate_to_datetime(date) if date else None
    except ValueError:
        return
    if told is not None:
        skews[name] = told.timestamp() - time.time()


def prices(settings: config.Settings) -> list[Check]:
    """One check an endpoint: the names under which its calls may be priced, that is its own or, where it has none,
    the routes that lead to it."""
    table = settings.price_table()
    checks = []
    for endpoint in settings.endpoints:
        routes = [model for model, name in settings.routes.items() if name == endpoint.name]
        names = [endpoint.price_name] if endpoint.price_name else routes
        checks.append(Check(f"price {endpoint.name}", *_priced(names, table)))
    return checks


def _priced(names: Sequence[str], table: PriceTable) -> tuple[bool, str]:
    unknown = [name for name in names if table.find(name) is None]
    if unknown:
        return False, f"no price for {', '.join(unknown)}: add it under [prices.models], or set the endpoint's `price`"
    if not names:
        return True, f"by the model that answers, in the table {table.version}"
    return True, f"{', '.join(names)} in the table {table.version}"


def clock(now_s: float, skews: dict[str, float], days: Sequence[Path]) -> Check:
    """Whether this machine's time can be right: not before the program, near that of the endpoints, and not before
    what the store holds."""
    apart = {name: skew for name, skew in skews.items() if abs(skew) > _SKEW_S}
    if now_s < _EARLIEST_S:
        return Check("clock", False, "this machine's time is years behind: turn on its time synchronisation")
    if apart and len(apart) == len(skews):
        name, skew = min(apart.items(), key=lambda pair: abs(pair[1]))
        said = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} endpoint {name}"
        return Check("clock", False, f"{said}: turn on this machine's time synchronisation")
    if days and schema.day_start_ns(days[-1]) > (now_s + 86_400) * 10**9:
        return Check("clock", False, f"{days[-1].name} is of a day to come: set the clock, or move that file away")
    near = ", ".join(f"{skew:+.0f} s to {name}" for name, skew in skews.items() if name not in apart)
    return Check("clock", True, near or "plausible; no endpoint tells its time")


def sqlite_version(version: tuple[int, ...]) -> Check:
    said = ".".join(map(str, version))
    if version < _SQLITE:
        needed = ".".join(map(str, _SQLITE))
        return Check("sqlite", False, f"{said} is too old: use a Python that brings {needed} or newer")
    return Check("sqlite", True, said)


def _store(settings: config.StoreSettings) -> Check:
    """Whether every day file can be read, and the folder written."""
    folder = Path(settings.folder)
    if not settings.records:
        return Check("store", True, "nothing is recorded")
    place = _existing(folder)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return Check("store", False, f"{place} cannot be written by this user: change its owner, or store.folder")
    days = schema.day_files(folder)
    for path in days:
        try:
            connection = schema.open_for_reading(path)
        except StoreError as error:
            return Check("store", False, str(error))
        if connection is not None:
            connection.close()
    kept = f"kept {settings.keep_days} days" if settings.keep_days else "kept for ever"
    return Check("store", True, f"{folder}: {len(days)} day files, {kept}")


def _telemetry(settings: config.TelemetrySettings) -> list[Check]:
    """Whether the collector takes spans: it is sent a request without any. None where there is no collector."""
    try:
        where = collector.target(settings)
    except ConfigError as error:
        return [Check("telemetry", False, str(error))]
    if where is None:
        return []
    sender = collector.Collector(where, TIMEOUT_S)
    outcome = sender.send(otlp.request((), semconv.convention(settings.semconv), settings.service))
    sender.close()
    if outcome.arrived:
        return [Check("telemetry", True, f"the collector {where.name} takes spans")]
    said = f"the collector {where.name} {outcome.said}: check [telemetry], and that it runs"
    return [Check("telemetry", False, said)]


def disk(folder: Path, least: int) -> Check:
    """Whether `least` bytes are free where the store is."""
    place = _existing(folder)
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Check("disk", False, f"{place} cannot be looked at: {error.strerror}")
    if free < least:
        said = f"only {free / 1e6:,.0f} MB free at {place}"
        return Check("disk", False, f"{said}: free some, set store.keep_days, or type `trimtab traces prune`")
    return Check("disk", True, f"{free / 1e9:,.1f} GB free at {place}")


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that is there."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place
