"""The one TOML file, read once into frozen values. Secrets are never in it: endpoints name environment variables."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import msgspec

from trimtab.deployment import BreakerPolicy, Deployment, RetryPolicy, StepSpec
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError
from trimtab.money import Price, PriceTable


class GatewaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens, and its limits.

    `port = 0` takes any free port; larger requests than `max_body_bytes` are refused. `passthrough` names the endpoint
    that files and batches go to; empty is the first.
    """

    host: str = "127.0.0.1"
    port: int = 8400
    max_body_bytes: int = 32 * 1024 * 1024
    passthrough: str = ""


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
    named, known = settings.gateway.passthrough, [endpoint.name for endpoint in settings.endpoints]
    if named and named not in known:
        raise ConfigError(f"{path}: gateway.passthrough names endpoint '{named}': use one of {', '.join(known)}")
    settings.price_table()
    if settings.endpoints:
        settings.deployment()
    return settings
