"""Lever: frozen parameters and three verbs. The gate and the gateway know only this shape, never a particular lever."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from trimtab.deployment import Deployment
from trimtab.money import PriceTable
from trimtab.trace import Trace


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast made before anything is built: share of cost saved with its interval, over `n` traces. `tables` are
    rows for people to read, by the table's name."""

    lever: str
    saving: float
    low: float
    high: float
    n: int
    method: str
    risk: str = ""
    tables: dict[str, list[dict[str, Any]]] = {}


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """What `build` made: files under `folder`, addressed by the digest of their content, and the manifest that
    says from which traces, seed, code and library versions."""

    digest: str
    folder: Path
    manifest: dict[str, object] = {}


class Lever(Protocol):
    """estimate: seconds, CPU only, no paid call. build: may be heavy, reads only the fit split. apply: pure."""

    name: str

    def estimate(self, traces: Iterable[Trace], prices: PriceTable) -> Estimate: ...

    def build(self, traces: Iterable[Trace], folder: Path) -> Artifact: ...

    def apply(self, deployment: Deployment, artifact: Artifact) -> Deployment: ...
