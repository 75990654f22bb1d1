"""A Deployment as the TOML file that `trimtab gate` and `trimtab rollout` take for a candidate."""

from __future__ import annotations

import msgspec

from trimtab.deployment import Deployment
from trimtab.evals.serving import toml
from trimtab.money import PriceTable

_FIELDS = ("endpoints", "routes", "split", "fallbacks", "retry", "breaker", "steps")


def text(deployment: Deployment, prices: PriceTable | None = None) -> str:
    """One line a key. `prices` goes along, so that both sides are priced alike."""
    held = msgspec.to_builtins(deployment)
    tables = {name: held[name] for name in _FIELDS if held.get(name)}
    if prices is not None:
        tables["prices"] = {"version": prices.version, "models": msgspec.to_builtins(prices.prices)}
    return "".join(f"{name} = {toml(value)}\n" for name, value in tables.items())
