"""The one TOML file, read once into frozen values. Secrets are never in it: endpoints name environment variables."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import msgspec

from trimtab.deployment import BreakerPolicy, Deployment, RetryPolicy, StepSpec
from trimtab.endpoint import Endpoint, Seconds
from trimtab.errors import ConfigError
from trimtab.money import Price, PriceTable


Count = Annotated[int, msgspec.Meta(ge=1)]


class GatewaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens, and its limits.

    `port = 0` takes any free port; so does `admin_port`, which is on this machine's loopback only (-1: none). Larger
    requests than `max_body_bytes`, more headers than `max_header_bytes` or more answers than `max_n` are refused. A
    request's headers have `header_s` seconds to arrive and its body `body_s`; a client that does not read its answer
    for `unread_s` is cut off. After SIGTERM, what runs has `drain_s` to end.
    """

    host: str = "127.0.0.1"
    port: int = 8400
    admin_port: Annotated[int, msgspec.Meta(ge=-1, le=65535)] = 0
    drain_s: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    max_body_bytes: Count = 32 * 1024 * 1024
    max_header_bytes: Count = 32 * 1024
    max_n: Count = 128
    header_s: Seconds = 10.0
    body_s: Seconds = 60.0
    unread_s: Seconds = 60.0


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where traces are kept, how many records wait in memory, and what is kept.

    `record`: 'full' keeps bodies and counters, 'metadata' counters alone, 'off' nothing.
    """

    folder: str = ".trimtab"
    queue: int = 10_000
    record: str = "full"


class PriceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price table in the TOML file; merged over the shipped one. `version` is stamped on every cost."""

    version: str = ""
    models: dict[str, Price] = {}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the file may say."""

    gateway: GatewaySettings = GatewaySettings()
    store: StoreSettings = StoreSettings()
    prices: PriceSettings = PriceSettings()
    endpoints: tuple[Endpoint, ...] = ()
    routes: dict[str, str] = {}
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
    """Settings from the TOML file at `path`; a ConfigError names the key at fault."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}; name the file with --config") from error
    try:
        settings = msgspec.toml.decode(text, type=Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}; see docs/config.md for every key") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    if settings.store.record not in ("full", "metadata", "off"):
        raise ConfigError(f"{path}: store.record is '{settings.store.record}': use 'full', 'metadata' or 'off'")
    settings.price_table()
    if settings.endpoints:
        settings.deployment()
    return settings
