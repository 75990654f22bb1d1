"""Deployment: the desired state of what serves one workflow.

A plain value: levers return new ones, the gateway obeys one.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from trimtab.endpoint import Endpoint, Seconds
from trimtab.errors import ConfigError


class StepSpec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One ring of the onion by name: `lever` is the folder under `trimtab.levers` (or an entry point) whose
    `serve` half makes the Step; `artifact` is the content address of what it loads; `options` are its parameters."""

    lever: str
    artifact: str = ""
    options: dict[str, Any] = {}


Count = Annotated[int, msgspec.Meta(ge=1)]


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How often and how long a request is tried.

    `attempts` bounds the tries of one endpoint, the first included. `deadline_s` bounds all tries, waits and fallbacks
    of a request together, until its answer is whole or its stream has begun. A wait is random between 0 and `wait_s`,
    which doubles with each try up to `max_wait_s`; a server that asks for a longer one is not waited for.
    """

    attempts: Count = 3
    deadline_s: Seconds = 300.0
    wait_s: Seconds = 0.25
    max_wait_s: Seconds = 8.0


class BreakerPolicy(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """When an endpoint counts as failing: after `failures` failed attempts in a row, for `open_s` seconds, which
    double with each failed probe up to eight times as long."""

    failures: Count = 5
    open_s: Seconds = 10.0


class Deployment(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Endpoints, ordered steps, and how traffic splits over the endpoints.

    `routes` names the endpoint for a model asked for by the client; a model without a route goes to the first
    endpoint whose `model` it is, else it is refused. `split` gives shares per endpoint name that sum to 1
    (empty = by route alone). `fallbacks` lists, for a model asked for or an endpoint's name, the endpoints that are
    asked in that order when the first fails.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    workflow: str = ""
    steps: tuple[StepSpec, ...] = ()
    routes: dict[str, str] = {}
    split: dict[str, float] = {}
    fallbacks: dict[str, tuple[str, ...]] = {}
    retry: RetryPolicy = RetryPolicy()
    breaker: BreakerPolicy = BreakerPolicy()

    def __post_init__(self) -> None:
        names = [endpoint.name for endpoint in self.endpoints]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"deployment '{self.name}' names endpoint '{twice}' twice: give each its own name")
        known = ", ".join(names)
        for model, name in self.routes.items():
            if name not in names:
                raise ConfigError(
                    f"route '{model}' goes to endpoint '{name}', which is not defined: use one of {known}"
                )
        for name in self.split:
            if name not in names:
                raise ConfigError(f"split names endpoint '{name}', which is not defined: use one of {known}")
        self._check_fallbacks(names)
        if self.split and abs(sum(self.split.values()) - 1) > 1e-9:
            raise ConfigError(
                f"the shares of deployment '{self.name}' sum to {sum(self.split.values()):g}: make them sum to 1"
            )

    def _check_fallbacks(self, names: list[str]) -> None:
        asked = dict.fromkeys((*self.models, *names))
        for key, wanted in self.fallbacks.items():
            if key not in asked:
                raise ConfigError(f"fallbacks of '{key}': no such model or endpoint; use one of {', '.join(asked)}")
            for name in wanted:
                if name not in names:
                    known = ", ".join(names)
                    raise ConfigError(
                        f"fallbacks of '{key}' name endpoint '{name}', which is not defined: use one of {known}"
                    )

    def fallbacks_for(self, model: str, endpoint: Endpoint) -> tuple[Endpoint, ...]:
        """Who is asked when `endpoint` fails, in order: the list of the `model` asked for, else the endpoint's."""
        names = self.fallbacks[model] if model in self.fallbacks else self.fallbacks.get(endpoint.name, ())
        return tuple(
            other for name in names for other in self.endpoints if other.name == name and name != endpoint.name
        )

    def endpoint_for(self, model: str) -> Endpoint | None:
        """The endpoint that serves `model`: its route, else the endpoint of that model or name, else None."""
        wanted = self.routes.get(model)
        for endpoint in self.endpoints:
            if endpoint.name == wanted or (wanted is None and model in (endpoint.model, endpoint.name)):
                return endpoint
        return None

    def twin(self, endpoint: Endpoint, dialect: str) -> Endpoint:
        """The endpoint of the same address and model that speaks `dialect`; `endpoint` itself where there is none."""
        place = endpoint.url, endpoint.model
        twins = (other for other in self.endpoints if (other.url, other.model) == place and other.dialect == dialect)
        return next(twins, endpoint)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model name a client may ask for."""
        named = list(self.routes) + [endpoint.model or endpoint.name for endpoint in self.endpoints]
        return tuple(dict.fromkeys(named))
