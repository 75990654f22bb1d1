"""Quantization as a lever: what it may save, the model in fewer bits, and the endpoint that serves it."""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab import __version__
from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.engines.checkpoint import Checkpoint, open_checkpoint
from trimtab.engines.ir import MODEL
from trimtab.engines.prepared import locate
from trimtab.errors import ConfigError, FormatError, require
from trimtab.lever import Artifact, Estimate
from trimtab.levers import splitting
from trimtab.levers.quantization import compressor, embedded, layers, measure, options, samples
from trimtab.levers.quantization.options import Options
from trimtab.levers.quantization.samples import Reader, Sample
from trimtab.levers.serving import words
from trimtab.money import PriceTable
from trimtab.store.artifacts import ArtifactStore
from trimtab.trace import Trace

REPORT = "report.json"
MEASURED = 48  # answers that the report of a build compares
URLS = {True: "http://127.0.0.1:8401/v1", False: "http://127.0.0.1:8000/v1"}
_WIDTHS = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}
_BITS = {"fp8_dynamic": 8, "fp8_static": 8, "fp8_block": 8, "w8a8": 8, "w4a16": 4, "w4a16_awq": 4}
_METHOD = (
    "weight bytes that a token has to read: nothing saved where arithmetic is the bound, all of them where memory is"
)


def make(given: Mapping[str, Any]) -> Quantization:
    """The lever with its options; ConfigError."""
    options.read(given)
    return Quantization(options=dict(given))


class Quantization(msgspec.Struct, frozen=True):
    """`options` as of `options.Options`."""

    name: str = "quantization"
    options: dict[str, Any] = {}

    def estimate(self, traces: Iterable[Trace], prices: PriceTable) -> Estimate:
        """The share of all cost that is weight traffic which fewer bits would save; FormatError without bodies."""
        its = options.read(self.options)
        require("engine", "tokenizers", "jinja2")
        checkpoint, held = opened(its), list(traces)
        found = own(Reader(checkpoint), held, its)
        before, after = sizes(checkpoint, its)
        share = max(0.0, 1 - after / before) * _cost_share(held, its)
        return Estimate(
            lever=self.name,
            saving=share / 2,
            low=0.0,
            high=share,
            n=len({each.session for each in found}),
            method=_METHOD,
            risk="a rounded model is a new model: flips hide behind equal accuracy; audit it, then let the gate decide",
            tables={
                "bytes": [{"scheme": its.scheme, "before": f"{before / 1e6:.1f} MB", "after": f"{after / 1e6:.1f} MB"}],
                "recorded prompts to round by, in tokens": _at_hand(found),
            },
        )

    def build(self, traces: Iterable[Trace], folder: Path) -> Artifact:
        """Round by the fit split and put the model into the store `folder`.

        FormatError for too few samples, ConfigError, ModelError, DiskFull; nothing is left behind by those.
        """
        its = options.read(self.options)
        require("engine", "openvino", "tokenizers", "jinja2")
        checkpoint = opened(its)
        embedded.check(checkpoint, its) if its.embedded else compressor.check(checkpoint, its)
        reader = Reader(checkpoint)
        found = own(reader, splitting.fit(traces), its) if its.looks else []
        fit, held_back = samples.parts(found)
        used = samples.calibration(reader, fit, its) if its.looks else []
        check = samples.chosen(held_back, MEASURED, its.seed)
        manifest = _manifest(self, its, used, len(found))
        if not its.embedded:
            made = compressor.compress(checkpoint, its, used)
            return ArtifactStore(folder).put(
                made, {**manifest, "bytes": _weigh(made), "compressor": compressor.PACKAGE}
            )
        with tempfile.TemporaryDirectory(prefix="trimtab-build-") as place:
            report = _embed(Path(place), checkpoint, its, used, check)
            return ArtifactStore(folder).put(Path(place), {**manifest, **report})

    def apply(self, deployment: Deployment, artifact: Artifact) -> Deployment:
        """`deployment` with the endpoint of the model replaced by one of the same name that serves the artefact."""
        its = options.read(self.options)
        old = _replaced(deployment, its)
        new = Endpoint(
            name=old.name,
            url=its.url or URLS[its.embedded],
            model=its.served_name,
            price=its.price or old.price_name,
            licence=old.licence,
        )
        endpoints = tuple(new if each.name == old.name else each for each in deployment.endpoints)
        routes = dict(deployment.routes)
        if old.model and old.model != new.model:
            routes.setdefault(old.model, old.name)
        return msgspec.structs.replace(deployment, endpoints=endpoints, routes=routes)


def serving(applied: Deployment, artifact: Artifact) -> tuple[str, ...]:
    """What `trimtab engine serve` is told; nothing for vLLM's schemes, see `trimtab rollout recipe`."""
    if not (artifact.folder / MODEL).exists():
        return ()
    return words(applied, {str(artifact.manifest["served as"]): str(artifact.folder)})


def opened(its: Options) -> Checkpoint:
    """The checkpoint that is to be rounded. ModelError where it is not whole, or is none."""
    folder = locate(its.model)
    if not (folder / "config.json").exists():
        raise ConfigError(f"{folder} is no checkpoint folder: name the model's original weights")
    return open_checkpoint(folder)


def sizes(checkpoint: Checkpoint, its: Options) -> tuple[float, float]:
    """Bytes of all weights before and after; scales are counted, a sensitive share in 8 bits too."""
    matrices = embedded.matrices(checkpoint)
    before = sum(entry.size for entry in checkpoint.entries.values())
    after = 0.0
    for name, entry in checkpoint.entries.items():
        if name not in matrices or name in its.keep or its.scheme == "bf16":
            after += entry.size
            continue
        bits: float = _BITS.get(its.scheme, 8 if its.scheme == "int8" else 4 + 4 * its.mixed)
        after += entry.size / _WIDTHS.get(entry.dtype, 2) * (bits / 8 + (2 / 128 if bits < 8 else 0))
    return float(before), after


def own(reader: Reader, traces: Iterable[Trace], its: Options) -> list[Sample]:
    """The recorded calls. FormatError where there are none, or none of a named agent."""
    held = list(traces)
    found = reader.calls(held, its.agents)
    if not found:
        known = sorted({call.agent for trace in held for call in trace.calls if trace.payloads.get(call.id)})
        if its.agents and known:
            raise FormatError(f"no recorded call of {', '.join(its.agents)}: there are those of {', '.join(known)}")
        raise FormatError("no recorded call has both its bodies: record with store.record = 'full', then try again")
    missing = sorted(set(its.agents) - {each.agent for each in found})
    if missing:
        raise FormatError(f"no recorded call of {', '.join(missing)}: record some, or leave the agent out of agents")
    return found


def _cost_share(traces: Sequence[Trace], its: Options) -> float:
    """The agents' share of what all calls cost; 1 where no agent is named or nothing is priced."""
    calls = [call for trace in traces for call in trace.calls]
    whole = sum(call.cost_nanodollars or 0 for call in calls)
    if not its.agents or not whole:
        return 1.0
    return sum(call.cost_nanodollars or 0 for call in calls if call.agent in its.agents) / whole


def _at_hand(own: Sequence[Sample]) -> list[dict[str, Any]]:
    by_agent: dict[str, list[int]] = defaultdict(list)
    for each in own:
        by_agent[each.agent].append(each.length)
    return [
        {"agent": agent, "calls": len(held), "median": statistics.median_low(held), "longest": max(held)}
        for agent, held in sorted(by_agent.items())
    ]


def _manifest(lever: Quantization, its: Options, used: Sequence[Sample], calls: int) -> dict[str, Any]:
    counts: dict[str, int] = defaultdict(int)
    for each in used:
        counts[each.agent] += 1
    return {
        "lever": lever.name,
        "options": lever.options,
        "served as": its.served_name,
        "model": its.model,
        "scheme": its.scheme,
        "calls": calls,
        "samples": dict(sorted(counts.items())),
        "longest": max((len(each.ids) for each in used), default=0),
        "split": f"fit ({splitting.FIT:.0%} of sessions)",
        "seed": its.seed,
        "trimtab": __version__,
    }


def _embed(
    place: Path, checkpoint: Checkpoint, its: Options, used: Sequence[Sample], check: Sequence[Sample]
) -> dict[str, Any]:
    """Write the engine's folder with its report; what the manifest says of it."""
    found = layers.moments(layers.Tapped(checkpoint), used) if used else None
    plan = embedded.plan(checkpoint, its, found)
    made = embedded.encoded(checkpoint, plan, found)
    kept = embedded.write(place, checkpoint, made, its)
    formats: dict[str, int] = defaultdict(int)
    for form in plan.formats.values():
        formats["left alone" if form is None else form.word] += 1
    got = measure.distances(measure.plain(checkpoint), measure.of_codes(checkpoint, made), check) if made else []
    report = {
        "answers compared": len(got),
        "by agent": measure.table(got, "agent", lambda each: each.agent),
        "by class": measure.table(got, "class", lambda each: each.kind),
        "by length of prompt": measure.table(got, "tokens", lambda each: measure.bucket(each.length)),
    }
    (place / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    return {
        "formats": dict(sorted(formats.items())),
        "untouched, bit for bit": kept,
        "kv": its.kv,
        "bytes": _weigh(place),
        "answers compared": len(got),
        "answers unchanged": sum(each.same for each in got),
    }


def _weigh(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _replaced(deployment: Deployment, its: Options) -> Endpoint:
    names = [endpoint.name for endpoint in deployment.endpoints]
    if its.endpoint:
        for endpoint in deployment.endpoints:
            if endpoint.name == its.endpoint:
                return endpoint
        raise ConfigError(f"there is no endpoint '{its.endpoint}' to replace: use one of {', '.join(names)}")
    own = [each for each in deployment.endpoints if each.model in (its.model, its.served_name)]
    found = own or list(deployment.endpoints)
    if len(found) != 1:
        raise ConfigError(
            f"which endpoint is replaced? add --option endpoint='\"NAME\"' with one of {', '.join(names)}"
        )
    return found[0]
