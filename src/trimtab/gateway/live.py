"""Live: the Deployment being served now. A swap is one assignment: requests under way keep the one they began with.

The one upward door of the house: a step's `serve` half is loaded by name, because the Deployment asks for it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

from trimtab.config import GatewaySettings
from trimtab.deployment import Deployment, StepSpec
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError
from trimtab.gateway.chain import Call, Step, fold
from trimtab.gateway.disclosure import key_of
from trimtab.gateway.pool import address_of
from trimtab.gateway.serving import Serving
from trimtab.gateway.trial import Trial
from trimtab.money import PriceTable

log = logging.getLogger("trimtab.gateway")

_MAX_WARNED = 1000
# What a lever's own code may raise over its options and artefact.
_LOADING = (ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)


class Live:
    """Holds what is served; `swap` replaces it or refuses and changes nothing.

    `tail` is the upstream call, `folder` the store's, where steps find their artefacts. `bounds` are the limits
    that every connection and request looks up here, because they too may change while serving. A `trial` of what is
    served against another Deployment is begun, changed and ended by one assignment, too.
    """

    def __init__(self, deployment: Deployment, prices: PriceTable, tail: Call, folder: Path) -> None:
        self.prices = prices
        self.bounds = GatewaySettings()
        # Whether spans of ours are exported, so that a model server's may name ours as their parents.
        self.spans = False
        self._tail = tail
        self._folder = folder
        self._unpriced: set[str] = set()
        self.serving = self.ready(deployment)
        self.trial: Trial | None = None

    @property
    def main(self) -> Serving:
        """What serves who is of no session: the Deployment, or the candidate that has taken all of its traffic."""
        trial, serving = self.trial, self.serving
        return trial.candidate if trial is not None and trial.share >= 1 and trial.baseline is serving else serving

    @property
    def models(self) -> tuple[str, ...]:
        """Every model name a client may ask for."""
        return tuple(dict.fromkeys((*self.main.deployment.models, *self.serving.deployment.models)))

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All that may be asked now."""
        trial, endpoints = self.trial, self.serving.deployment.endpoints
        return endpoints if trial is None else (*endpoints, *trial.candidate.deployment.endpoints)

    def ready(self, deployment: Deployment) -> Serving:
        """`deployment` made ready but not yet served; ConfigError where a step or a key is missing. May take long."""
        if not deployment.endpoints:
            raise ConfigError(f"deployment '{deployment.name}' has no endpoints: give it at least one")
        for endpoint in deployment.endpoints:
            check(endpoint)
        steps = tuple((spec.lever, load(spec, self._folder)) for spec in deployment.steps)
        return Serving(deployment, fold(steps, self._tail), steps)

    def swap(self, deployment: Deployment) -> None:
        """Serve `deployment` from the next request on."""
        self.serving = self.ready(deployment)

    def take(self, serving: Serving | None, prices: PriceTable, bounds: GatewaySettings) -> None:
        """Serve from now on with these, all at once; `serving` None: as before."""
        self.serving = serving or self.serving
        self.prices, self.bounds = prices, bounds

    def warn_unpriced(self, model: str) -> None:
        """One log line for each model that has no price."""
        if model not in self._unpriced and len(self._unpriced) < _MAX_WARNED:
            self._unpriced.add(model)
            log.warning("no price for model '%s': its calls cost 'unknown'; add it under [prices.models]", model)


def load(spec: StepSpec, folder: Path) -> Step:
    """The Step of `spec`: `make(spec, folder)` of the lever's light half, `trimtab.levers.<name>.serve`, or of the
    module that an installed package names under the entry-point group `trimtab.levers`."""
    if not spec.lever.isidentifier():
        raise ConfigError(f"step '{spec.lever}' is not a lever's name: use letters, digits and '_'")
    make: Any = getattr(_module(spec.lever), "make", None)
    if make is None:
        raise ConfigError(f"lever '{spec.lever}' has no 'make' in its serve module: it cannot be a step")
    try:
        step: Step = make(spec, folder)
    except _LOADING as error:
        raise ConfigError(f"step '{spec.lever}' cannot be loaded: {type(error).__name__}: {error}") from error
    return step


def _module(lever: str) -> ModuleType:
    name = f"trimtab.levers.{lever}.serve"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise ConfigError(f"lever '{lever}' needs '{error.name}', which is not installed") from error
    for entry in importlib.metadata.entry_points(group="trimtab.levers", name=lever):
        return importlib.import_module(entry.value)
    raise ConfigError(f"there is no lever '{lever}': check the name in 'steps'")


def check(endpoint: Endpoint) -> None:
    """ConfigError where `endpoint` could never be asked: its url is none, its key is missing or no header's value."""
    name, url, key = endpoint.name, endpoint.url, key_of(endpoint)
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"endpoint '{name}' has url '{url}': it must begin with http:// or https://")
    if "@" in url.split("/")[2]:
        raise ConfigError(f"endpoint '{name}' has a name or a password in its url: export the key and set key_env")
    if "?" in url or "#" in url:
        raise ConfigError(f"endpoint '{name}' has url '{url}': it must end with its path, before any '?' or '#'")
    try:
        address_of(url)
    except ValueError as error:
        raise ConfigError(f"endpoint '{name}' has url '{url}': it must have a host and a port below 65536") from error
    if endpoint.key_env and not key:
        raise ConfigError(f"endpoint '{name}' wants its key in {endpoint.key_env}: export it first")
    if not (key.isascii() and key.isprintable()):
        # A line end in it would begin a header of its own.
        odd = f"a key with line ends or other odd signs in {endpoint.key_env}"
        raise ConfigError(f"endpoint '{name}' has {odd}: export it anew")
