"""Serving: one Deployment made ready: which endpoint is asked for a model, and the steps round the upstream call."""

from __future__ import annotations

import hashlib

import msgspec

from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.gateway.chain import Call, Step, fold


def share_of(key: str) -> float:
    """A number in [0, 1) that is always the same for `key`, and evenly spread over many of them."""
    return int.from_bytes(hashlib.blake2b(key.encode(errors="replace"), digest_size=8).digest(), "big") / 2**64


class Serving(msgspec.Struct, frozen=True):
    """One Deployment made ready: its `steps` loaded and folded round the upstream call."""

    deployment: Deployment
    chain: Call
    steps: tuple[tuple[str, Step], ...] = ()

    def over(self, tail: Call) -> Call:
        """The same steps round another upstream call."""
        return fold(self.steps, tail)

    def endpoint_for(self, model: str, trace_id: str, dialect: str = "chat") -> Endpoint | None:
        """The endpoint for `model`: by route; under a split, by share, the same one for every call of a trace.

        Where the same server is also an endpoint that speaks `dialect`, it is asked in that.
        """
        chosen = self._by_share(model, trace_id)
        return chosen if chosen is None or chosen.dialect == dialect else self.deployment.twin(chosen, dialect)

    def _by_share(self, model: str, trace_id: str) -> Endpoint | None:
        routed = self.deployment.endpoint_for(model)
        split = self.deployment.split
        if routed is None or not split:
            return routed
        point = share_of(trace_id)
        for endpoint in self.deployment.endpoints:
            point -= split.get(endpoint.name, 0.0)
            if point < 0:
                return endpoint
        return routed
