"""Deployment: the desired state of what serves one workflow.

A plain value: levers return new ones, the gateway obeys one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError


class StepSpec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One ring of the onion by name: `lever` is the folder under `trimtab.levers` (or an entry point) whose
    `serve` half makes the Step; `artifact` is the content address of what it loads; `options` are its parameters."""

    lever: str
    artifact: str = ""
    options: dict[str, Any] = {}


class Deployment(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Endpoints, ordered steps, and how traffic splits over the endpoints.

    `routes` names the endpoint for a model asked for by the client; a model without a route goes to the first
    endpoint whose `model` it is, else it is refused. `split` gives shares per endpoint name that sum to 1
    (empty = by route alone).
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    workflow: str = ""
    steps: tuple[StepSpec, ...] = ()
    routes: dict[str, str] = {}
    split: dict[str, float] = {}

    def __post_init__(self) -> None:
        names = [endpoint.name for endpoint in self.endpoints]
        if len(set(names)) != len(names):
            raise ConfigError(f"deployment '{self.name}' names an endpoint twice: give each its own name")
        known = ", ".join(names)
        for model, name in self.routes.items():
            if name not in names:
                raise ConfigError(
                    f"route '{model}' goes to endpoint '{name}', which is not defined: use one of {known}"
                )
        for name in self.split:
            if name not in names:
                raise ConfigError(f"split names endpoint '{name}', which is not defined: use one of {known}")
        if self.split and abs(sum(self.split.values()) - 1) > 1e-9:
            raise ConfigError(
                f"the shares of deployment '{self.name}' sum to {sum(self.split.values()):g}: make them sum to 1"
            )

    def endpoint_for(self, model: str) -> Endpoint | None:
        """The endpoint that serves `model`: its route, else the endpoint of that model or name, else None."""
        wanted = self.routes.get(model)
        for endpoint in self.endpoints:
            if endpoint.name == wanted or (wanted is None and model in (endpoint.model, endpoint.name)):
                return endpoint
        return None

    @property
    def models(self) -> tuple[str, ...]:
        """Every model name a client may ask for."""
        named = list(self.routes) + [endpoint.model or endpoint.name for endpoint in self.endpoints]
        return tuple(dict.fromkeys(named))
