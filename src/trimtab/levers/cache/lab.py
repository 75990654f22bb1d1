"""The cache as a lever: what it would have saved on recorded traces, what it learned from them, and its step."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trimtab import __version__
from trimtab.deployment import Deployment, StepSpec
from trimtab.errors import FormatError
from trimtab.lever import Artifact, Estimate
from trimtab.levers import splitting
from trimtab.levers.cache import options, pilot, recorded
from trimtab.levers.cache.serve import STATE
from trimtab.money import PriceTable
from trimtab.store.artifacts import ArtifactStore
from trimtab.trace import Trace

# Calls that a pilot plays at most, the newest: about a minute.
MOST = 5000
_METHOD = "replay of recorded calls through the step itself; percentile bootstrap over sessions, 95 %"


def make(given: Mapping[str, Any]) -> Cache:
    """The lever with the options of its step; ConfigError."""
    options.read(dict(given))
    return Cache(options=dict(given))


class Cache(msgspec.Struct, frozen=True):
    """`options` go into the step as they are."""

    name: str = "cache"
    options: dict[str, Any] = {}

    def estimate(self, traces: Iterable[Trace], prices: PriceTable) -> Estimate:
        """The share of all cost that hits would have saved. FormatError without recorded bodies."""
        its = options.read(self.options)
        calls = self._calls(traces)
        told = pilot.play(calls, its, prices)
        saving, interval = pilot.share(told.played, "saved", "cost", its.seed)
        hits = sum(bool(each.tier) for each in told.played)
        wrong = sum(each.wrong for each in told.played)
        risk = f"{wrong} of {hits} hits differed from the recorded answer; alpha is {its.alpha:g}"
        passed = [{"reason": why, "calls": n} for why, n in told.passed.most_common()]
        return Estimate(
            lever=self.name,
            saving=saving,
            low=interval.low,
            high=interval.high,
            n=len({each.cluster for each in told.played}),
            method=_METHOD + (f"; exact tier alone: {told.why}" if told.why else ""),
            risk=risk,
            tables={
                "by workflow and agent": pilot.rows(told),
                "never looked up": passed,
                "to read: other answers to near questions": [_shown(doubt) for doubt in told.doubts],
            },
        )

    def build(self, traces: Iterable[Trace], folder: Path) -> Artifact:
        """Fit the decision on the fit split and put it into the store `folder`. FormatError without recorded bodies."""
        its = options.read(self.options)
        calls = self._calls(splitting.fit(traces))
        told = pilot.play(calls, its, None, one_route=True)
        manifest = {
            "lever": self.name,
            "options": self.options,
            "calls": len(calls),
            "traces": len({each.call.trace_id for each in calls}),
            "first": calls[0].call.id,
            "last": calls[-1].call.id,
            "split": f"fit ({splitting.FIT:.0%} of sessions)",
            "seed": its.seed,
            "trimtab": __version__,
            "encoder": told.encoder,
            "numpy": _numpy(),
            "hits": sum(bool(each.tier) for each in told.played),
            "wrong": sum(each.wrong for each in told.played),
            "answers": told.groups,
        }
        with tempfile.TemporaryDirectory(prefix="trimtab-build-") as made:
            (Path(made) / STATE).write_bytes(told.state or b"")
            (Path(made) / "card.json").write_bytes(msgspec.json.encode({"encoder": told.encoder, **_figures(told)}))
            return ArtifactStore(folder).put(Path(made), manifest)

    def apply(self, deployment: Deployment, artifact: Artifact) -> Deployment:
        """`deployment` with the cache as its outermost step, in place of an earlier one."""
        others = tuple(step for step in deployment.steps if step.lever != self.name)
        step = StepSpec(self.name, artifact=artifact.digest, options=dict(self.options))
        return msgspec.structs.replace(deployment, steps=(step, *others))

    def _calls(self, traces: Iterable[Trace]) -> list[recorded.Recorded]:
        calls = recorded.calls(traces, options.read(self.options), MOST)
        if not calls:
            raise FormatError("no recorded call has both its bodies: record with store.record = 'full', then try again")
        return calls


def _shown(doubt: pilot.Doubt) -> dict[str, Any]:
    held = {"served": "yes" if doubt.served else "no", "score": f"{doubt.score:.2f}", "asked": doubt.asked[:120]}
    return {**held, "held": doubt.held[:120], "answer": doubt.answer, "held answer": doubt.held_answer}


def _figures(told: pilot.Pilot) -> dict[str, Any]:
    return {"calls": len(told.played), "eligible": sum(each.eligible for each in told.played), "answers": told.groups}


def _numpy() -> str:
    try:
        import numpy as np
    except ImportError:
        return ""
    return np.__version__
