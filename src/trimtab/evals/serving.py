"""Serving what is measured: a Deployment behind a real `trimtab serve` process. What is gated is what is served."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from trimtab.deployment import Deployment
from trimtab.errors import ConfigError
from trimtab.gateway.process import GatewayProcess
from trimtab.money import PriceTable

_FIELDS = ("endpoints", "routes", "split", "fallbacks", "retry", "breaker", "steps")


@contextlib.contextmanager
def served(deployment: Deployment, prices: PriceTable, artifacts: Path | None = None) -> Iterator[str]:
    """The gateway's url (ends in /v1) while the block runs, on a free port, with a store of its own that goes with it.

    `artifacts` is the store folder in whose `artifacts` the deployment's steps find theirs. Keys come from the
    environment, as always. Raises ConfigError or TrimtabError with what the gateway said where it refuses.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-gate-") as folder:
        home = Path(folder)
        store = home / "store"
        store.mkdir()
        if artifacts is not None and (artifacts / "artifacts").is_dir():
            (store / "artifacts").symlink_to((artifacts / "artifacts").resolve(), target_is_directory=True)
        config = home / "trimtab.toml"
        config.write_text(configuration(deployment, prices, store), encoding="utf-8")
        with GatewayProcess(config) as gateway:
            yield gateway.url


def configuration(deployment: Deployment, prices: PriceTable, store: Path) -> str:
    """The TOML file that serves `deployment`, priced by `prices`, recording counters alone into `store`."""
    held = msgspec.to_builtins(deployment)
    tables = {
        "gateway": {"port": 0, "admin_port": -1},
        "store": {"folder": str(store), "record": "metadata"},
        "prices": {"version": prices.version, "models": msgspec.to_builtins(prices.prices)},
        **{name: held[name] for name in _FIELDS if held.get(name)},
    }
    return "".join(f"{name} = {toml(value)}\n" for name, value in tables.items())


def toml(value: Any) -> str:
    """`value` as TOML, in one line. ConfigError for what TOML cannot say: None in a list, and types of its own."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        # A key that is None is one that is not there.
        pairs = [f"{_string(str(name))} = {toml(held)}" for name, held in value.items() if held is not None]
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(held) for held in value) + "]"
    raise ConfigError(
        f"a {type(value).__name__} cannot be written to a configuration: use text, numbers, lists, tables"
    )


def _number(value: float) -> str:
    if math.isfinite(value):
        text = repr(value)
        return text if "." in text or "e" in text else text + ".0"
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _string(text: str) -> str:
    # JSON's escapes are TOML's, save that TOML wants DEL escaped as well.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
