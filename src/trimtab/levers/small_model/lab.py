"""The lever: which agents are narrow enough for a small model, the model built from their traffic, its Deployment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab import __version__
from trimtab.deployment import Deployment, StepSpec
from trimtab.endpoint import Endpoint
from trimtab.errors import ConfigError, FormatError
from trimtab.lever import Artifact, Estimate
from trimtab.levers import examples, splitting
from trimtab.levers.examples import Example
from trimtab.levers.serving import words
from trimtab.levers.small_model import card, forecast, heads, options, prepare, stages
from trimtab.levers.small_model.options import Options
from trimtab.money import PriceTable
from trimtab.store.artifacts import ArtifactStore
from trimtab.trace import Trace

MODEL = "model"
# Under these the conformance suite builds it: on its own word that the recorded answers may be learned from, and small.
TRIAL: dict[str, Any] = {
    "licences": {"*": "own"},
    "steps": {"sft": 3},
    "tokens": 512,
    "shape": {"hidden": 64, "layers": 2, "heads": 1, "intermediate": 128, "vocabulary": 512},
}


def make(given: Mapping[str, Any]) -> SmallModel:
    """The lever with its options; ConfigError."""
    options.read(given)
    return SmallModel(options=dict(given))


def narrowed(given: Mapping[str, Any], agent: str) -> dict[str, Any]:
    """The options for one agent alone."""
    return {**given, "agents": [agent]}


class SmallModel(msgspec.Struct, frozen=True):
    """`options` as `options.Options` has them."""

    name: str = "small_model"
    options: dict[str, Any] = {}

    def estimate(self, traces: Iterable[Trace], prices: PriceTable) -> Estimate:
        """What narrow agents cost, less what small ones would. FormatError without recorded bodies."""
        its = options.read(self.options)
        found = _by_agent(traces, its)
        if not found:
            raise FormatError("no recorded call has both its bodies: record with store.record = 'full', then try again")
        return forecast.estimate(found, its, prices)

    def build(self, traces: Iterable[Trace], folder: Path) -> Artifact:
        """Heads for label agents, one language model for the others, from the fit split; into the store `folder`.

        A build that was broken off goes on where it was. FormatError where too little is left to learn from, with
        what each step left out.
        """
        its = options.read(self.options)
        held = list(splitting.fit(traces))
        # Under the same rules for both: whoever may not be learned from teaches no head either.
        found = _by_agent(_permitted(held, its), its)
        known = {agent: heads.of(some, its) for agent, some in found.items()} if its.kind != "generate" else {}
        closed = {agent: labels for agent, labels in known.items() if labels is not None}
        if its.kind == "label" and len(closed) < max(1, len(found)):
            others = ", ".join(sorted(set(found) - set(closed))) or "none recorded"
            raise FormatError(f"these agents' outputs are no closed set ({others}): use kind = 'generate'")
        rest = tuple(sorted(set(found) - set(closed)))
        manifest: dict[str, Any] = {
            "lever": self.name,
            "options": self.options,
            "split": f"fit ({splitting.FIT:.0%} of sessions)",
            "seed": its.seed,
            "trimtab": __version__,
            "agents": sorted(rest),
            "narrowed": bool(its.agents) or bool(closed),
            "endpoint": _endpoint_of(held, its),
        }
        with tempfile.TemporaryDirectory(prefix="trimtab-build-") as made:
            place = Path(made)
            built = [heads.build(agent, found[agent], closed[agent], its, place) for agent in sorted(closed)]
            if built:
                manifest["heads"] = msgspec.to_builtins(built)
            if rest or not built:
                manifest |= self._language_model(held, rest, its, folder, place / MODEL)
            card.write(place, manifest)
            return ArtifactStore(folder).put(place, manifest)

    def _language_model(
        self, held: Sequence[Trace], agents: tuple[str, ...], its: Options, store: Path, place: Path
    ) -> dict[str, Any]:
        ours = msgspec.structs.replace(its, agents=agents)
        data = prepare.prepared(held, ours)
        checkpoint, measured = stages.run(data, ours, store)
        stages.publish(checkpoint, place)
        return {
            "data": data.funnel.rows,
            "conversations": len(data.train),
            "pairs": len(data.pairs),
            "stages": [stages.told(each) for each in measured],
            "versions": stages.versions(its.trainer),
        }

    def apply(self, deployment: Deployment, artifact: Artifact) -> Deployment:
        """Every agent: the endpoint swapped for the small model's, the old one its fallback. Some agents: a step that
        sends theirs there; label heads answer in the step, and what they are not sure of goes the old way."""
        its, manifest = options.read(self.options), artifact.manifest
        name = served_name(artifact)
        agents = tuple(str(agent) for agent in _list(manifest.get("agents")))
        if not manifest.get("narrowed"):
            return _swapped(deployment, _old(deployment, its, manifest), its, name)
        others = tuple(step for step in deployment.steps if step.lever != self.name)
        there = (Endpoint(name=name, url=its.url, model=name, price=its.priced),) if agents else ()
        kept = tuple(each for each in deployment.endpoints if each.name != name)
        told = {"agents": list(agents), "endpoint": name} if agents else {}
        step = StepSpec(self.name, artifact=artifact.digest, options=told)
        return msgspec.structs.replace(deployment, endpoints=(*kept, *there), steps=(*others, step))


def served_name(artifact: Artifact) -> str:
    """The name under which the language model of an artefact is served."""
    return f"small-{artifact.digest[:12]}"


def serving(applied: Deployment, artifact: Artifact) -> tuple[str, ...]:
    """What `trimtab engine serve` is told; nothing for label heads, which the step serves itself."""
    folder = artifact.folder / MODEL
    return words(applied, {served_name(artifact): str(folder)}) if folder.is_dir() else ()


def _by_agent(traces: Iterable[Trace], its: Options) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for each in examples.of_traces(traces):
        if not its.agents or each.call.agent in its.agents:
            found.setdefault(each.call.agent, []).append(each)
    return found


def _permitted(traces: Sequence[Trace], its: Options) -> list[Trace]:
    """Each trace with only the calls that may be learned from."""
    allowed = prepare.permitted(traces, its)
    return [
        msgspec.structs.replace(trace, calls=tuple(call for call in trace.calls if call.id in allowed))
        for trace in traces
    ]


def _endpoint_of(traces: Sequence[Trace], its: Options) -> str:
    """Who answered most."""
    names = [call.endpoint for trace in traces for call in trace.calls if not its.agents or call.agent in its.agents]
    return max(sorted(set(names)), key=names.count, default="")


def _old(deployment: Deployment, its: Options, manifest: Mapping[str, object]) -> Endpoint:
    wanted = its.endpoint or str(manifest.get("endpoint") or "")
    found = next((each for each in deployment.endpoints if each.name == wanted), None)
    if found is None and its.endpoint:
        raise ConfigError(f"deployment '{deployment.name}' has no endpoint '{its.endpoint}': name one of its own")
    return found or deployment.endpoints[0]


def _swapped(deployment: Deployment, old: Endpoint, its: Options, name: str) -> Deployment:
    if old.model == name:
        return deployment
    small = Endpoint(
        name=old.name, url=its.url, model=name, price=its.priced, licence=old.licence, timeout_s=old.timeout_s
    )
    before = msgspec.structs.replace(old, name=f"{old.name}-before")
    endpoints = tuple(small if each.name == old.name else each for each in deployment.endpoints)
    asked = old.model or old.name
    routes = deployment.routes if asked in deployment.routes else {**deployment.routes, asked: old.name}
    fallbacks = {**deployment.fallbacks, old.name: (before.name, *deployment.fallbacks.get(old.name, ()))}
    return msgspec.structs.replace(deployment, endpoints=(*endpoints, before), routes=routes, fallbacks=fallbacks)


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []
