"""The one TOML file, read once into frozen values. Secrets are never in it: endpoints name environment variables."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from trimtab.deployment import BreakerPolicy, Deployment, RetryPolicy, StepSpec
from trimtab.endpoint import Endpoint, Seconds
from trimtab.errors import ConfigError
from trimtab.money import Price, PriceTable

Count = Annotated[int, msgspec.Meta(ge=1)]
Room = Annotated[int, msgspec.Meta(ge=0)]


class GatewaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens, and its limits.

    `port = 0` takes any free port; so does `admin_port`, which is on this machine's loopback only (-1: none). Larger
    requests than `max_body_bytes`, more headers than `max_header_bytes` or more answers than `max_n` are refused. A
    request's headers have `header_s` seconds to arrive and its body `body_s`; a client that does not read its answer
    for `unread_s` is cut off. After SIGTERM, what runs has `drain_s` to end. `workers` processes serve. `keys`: whether
    a call needs a virtual key; `assumed_output_tokens` is reserved for an answer that the client sets no bound.
    `passthrough` names the endpoint that files and batches go to; empty is the first.
    """

    host: str = "127.0.0.1"
    port: int = 8400
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    admin_port: Annotated[int, msgspec.Meta(ge=-1, le=65535)] = 0
    drain_s: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    max_body_bytes: Count = 32 * 1024 * 1024
    max_header_bytes: Count = 32 * 1024
    max_n: Count = 128
    header_s: Seconds = 10.0
    body_s: Seconds = 60.0
    unread_s: Seconds = 60.0
    keys: Literal["off", "optional", "required"] = "off"
    assumed_output_tokens: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 1024
    passthrough: str = ""


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where traces are kept, how many records wait in memory, what is kept and for how long.

    `record`: 'full' keeps bodies and counters, 'metadata' counters alone, 'off' nothing; `record_for` says it otherwise
    for a model that clients ask for. What does not fit the memory waits in files of `spill_mb` MB together. Day files
    go `keep_days` days after their end (0: never). With `redact_personal` structured personal data in bodies is not
    written, as secrets never are.
    """

    folder: str = ".trimtab"
    queue: Room = 10_000
    record: str = "full"
    record_for: dict[str, str] = {}
    spill_mb: Room = 256
    keep_days: Room = 0
    redact_personal: bool = False

    def recorded(self, model: str) -> str:
        """What is kept of a call for which the client asked for `model`: 'full', 'metadata' or 'off'."""
        return self.record_for.get(model, self.record)

    @property
    def records(self) -> bool:
        """Whether anything is kept at all."""
        return any(kept != "off" for kept in (self.record, *self.record_for.values()))


Convention = Literal["v1.36", "v0.1.0"]


class TelemetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where spans of the recorded calls are sent to, over OTLP/HTTP, and under which of OpenTelemetry's GenAI names.

    `url` empty: nowhere. `headers` go along; those of `headers_env` get their values from environment variables.
    `semconv` empty: the names of v1.36, or of the newest version where OTEL_SEMCONV_STABILITY_OPT_IN asks for it.
    `metrics` are the versions whose names are on the page of metrics. With `content` prompts and answers are sent too.
    At most `queue` spans wait; every `interval_s` seconds those that wait are sent, and a sending has `timeout_s`.
    """

    url: str = ""
    headers: dict[str, str] = {}
    headers_env: dict[str, str] = {}
    semconv: Literal["", "v1.36", "v0.1.0"] = ""
    metrics: tuple[Convention, ...] = ("v1.36", "v0.1.0")
    content: bool = False
    service: str = "trimtab"
    interval_s: Seconds = 5.0
    timeout_s: Seconds = 10.0
    queue: Count = 10_000


class PriceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price table in the TOML file; merged over the shipped one. `version` is stamped on every cost."""

    version: str = ""
    models: dict[str, Price] = {}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the file may say."""

    gateway: GatewaySettings = GatewaySettings()
    store: StoreSettings = StoreSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    prices: PriceSettings = PriceSettings()
    endpoints: tuple[Endpoint, ...] = ()
    routes: dict[str, str] = {}
    split: dict[str, float] = {}
    fallbacks: dict[str, tuple[str, ...]] = {}
    retry: RetryPolicy = RetryPolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    steps: tuple[StepSpec, ...] = ()

    def deployment(self) -> Deployment:
        """The Deployment the file describes."""
        if not self.endpoints:
            raise ConfigError("no [[endpoints]] in the configuration: add one with name, url and model")
        return Deployment(
            name="config",
            endpoints=self.endpoints,
            routes=self.routes,
            steps=self.steps,
            split=self.split,
            fallbacks=self.fallbacks,
            retry=self.retry,
            breaker=self.breaker,
        )

    def price_table(self) -> PriceTable:
        """The shipped prices with the file's own laid over them."""
        shipped = shipped_prices()
        if not self.prices.models and not self.prices.version:
            return shipped
        version = self.prices.version or f"{shipped.version}+config"
        return PriceTable(version=version, prices={**shipped.prices, **self.prices.models})


def shipped_prices() -> PriceTable:
    """The dated public list prices that come with the package (`trimtab/prices.toml`)."""
    text = resources.files("trimtab").joinpath("prices.toml").read_bytes()
    parsed = msgspec.toml.decode(text, type=PriceSettings)
    return PriceTable(version=parsed.version, prices=parsed.models)


def read(path: Path) -> Settings:
    """Settings from the TOML file at `path`; a ConfigError names the line and the key at fault."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}; name the file with --config") from error
    try:
        settings = msgspec.toml.decode(text, type=Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{placed(path, str(error))}; see docs/config.md for every key") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    _check_store(settings.store, path)
    if settings.telemetry.url and not settings.store.records:
        message = "telemetry.url is given, but only what is recorded is exported: set store.record to 'metadata'"
        raise ConfigError(placed(path, message))
    named, known = settings.gateway.passthrough, [endpoint.name for endpoint in settings.endpoints]
    if named and named not in known:
        message = f"gateway.passthrough names endpoint '{named}': use one of {', '.join(known)}"
        raise ConfigError(placed(path, message))
    settings.price_table()
    if settings.endpoints:
        try:
            settings.deployment()
        except ConfigError as error:
            raise ConfigError(placed(path, str(error))) from error
    return settings


def _check_store(store: StoreSettings, path: Path) -> None:
    routes = {f"store.record_for.{name}": kept for name, kept in store.record_for.items()}
    for key, kept in {"store.record": store.record, **routes}.items():
        if kept not in ("full", "metadata", "off"):
            raise ConfigError(placed(path, f"{key} is '{kept}': use full, metadata or off"))


_WHERE = re.compile(r"(?:field `([^`]+)`)?(?: - at `(?:key in )?`?\$([^`]*)`)?$")
_STEP = re.compile(r"\.([\w-]+)|\[(\d+|\.\.\.)\]")
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""\s*("[^"]*"|'[^']*'|[\w.-]+)\s*=""")


def placed(path: Path, message: str) -> str:
    """`path:line: message` for what is wrong in a file; without the line where none can be told."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        lines = []
    number = _line_of_key(lines, message) or _line_of_words(lines, message)
    return f"{path}:{number}: {message}" if number else f"{path}: {message}"


def _line_of_key(lines: list[str], message: str) -> int | None:
    """The line of the key that msgspec's message names, as in ``unknown field `x` - at `$.endpoints[0]` ``; of the
    table around it where the key itself stands in no line of its own."""
    match = _WHERE.search(message)
    if match is None or not match.group():
        return None
    wanted = [name or index for name, index in _STEP.findall(match[2] or "")] + ([match[1]] if match[1] else [])
    counts: dict[str, int] = {}
    table: list[str] = []
    best, found = (0, False), None
    for number, line in enumerate(lines, 1):
        if header := _HEADER.match(line):
            table = [name.strip(" \"'") for name in header[2].split(".")]
            if header[1] == "[[":
                counts[header[2]] = counts.get(header[2], -1) + 1
                table.append(str(counts[header[2]]))
            here = table
        elif key := _KEY.match(line):
            here = [*table, *key[1].strip("\"'").split(".")]
        else:
            continue
        same = 0
        while same < min(len(here), len(wanted)) and wanted[same] in (here[same], "..."):
            same += 1
        # Of lines that say as much, the one with the word itself: tables may stand in one line.
        score = (same, bool(wanted) and wanted[-1] in line)
        if same and score > best:
            best, found = score, number
    return found


def _line_of_words(lines: list[str], message: str) -> int | None:
    """The first line with most of the words that `message` puts in quotes."""
    words = re.findall(r"'([^']+)'", message)
    held = [sum(f'"{word}"' in line or f"{word} =" in line for word in words) for line in lines]
    most: int = max(held, default=0)
    return held.index(most) + 1 if most else None
