"""A policy's state as bytes: arrays and JSON, no code in it."""

from __future__ import annotations

import io
import json
import math
from typing import Any

from trimtab.levers.cache.features import Rarity
from trimtab.levers.cache.risk import Curve
from trimtab.levers.cache.verifier import Verifier

Policy = Any  # trimtab.levers.cache.policy.Policy, which imports this

VERSION = 1


def packed(policy: Policy) -> bytes:
    """The bytes that `opened` reads."""
    import numpy as np

    metric, verifier, curve = policy.metric, policy.verifier, policy.curve
    metric.gather()
    words: dict[str, Any] = {
        "version": VERSION,
        "setting": list(policy.setting),
        "seed": policy.seed,
        "dims": metric.dims,
        "random": policy.random.bit_generator.state,
        "slots": list(policy.slots.items()),
        "moved": list(policy.moved.items()),
        "threshold": policy.threshold if math.isfinite(policy.threshold) else None,
        "shut": policy.shut,
        "learned": float(metric.learned),
        "counters": [policy.seen, policy.fitted, policy.rang],
        "rarity": [policy.rarity.counts, policy.rarity.n],
        "retired": sorted(policy.retired),
        "alarm": [policy.alarm.evidence, policy.alarm.holds],
        "watch": [policy.watch.evidence, policy.watch.held],
        "curve": None if curve is None else [curve.a, curve.b, curve.ceiling, list(curve.cover)],
    }
    arrays: dict[str, Any] = {
        "rows": np.array(policy.rows, dtype=np.float64),
        "right": np.array(policy.right),
        "recent": np.array(policy.recent, dtype=np.float64),
        "tries": np.array([policy.tries, policy.rights]),
        "members": np.array(metric.members, dtype=np.int64),
        "sums": metric.sums[: len(metric.members)],
        "scatter": metric.scatter,
    }
    if metric.axes is not None:
        arrays |= {"axes": metric.axes, "middle": metric.middle, "spread": metric.spread}
        arrays |= {"means": metric.means[: len(metric.members)]}
    if verifier is not None:
        arrays |= {"mean": verifier.mean, "scale": verifier.scale, "weights": verifier.weights}
    file = io.BytesIO()
    np.savez(file, words=np.frombuffer(json.dumps(words).encode(), dtype=np.uint8), **arrays)
    return file.getvalue()


def opened(state: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The words and the arrays of a state. ValueError: not one of this version."""
    import numpy as np

    with np.load(io.BytesIO(state), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if "words" not in arrays:
        raise ValueError("this is no state of a cache's policy: build it anew")
    words: dict[str, Any] = json.loads(arrays.pop("words").tobytes())
    if words.get("version") != VERSION:
        raise ValueError(f"the cache's state is of version {words.get('version')}, not {VERSION}: build it anew")
    return words, arrays


def restore(policy: Policy, words: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Give a fresh policy what was packed."""
    policy.random.bit_generator.state = words["random"]
    policy.slots = {int(group): slot for group, slot in words["slots"]}
    policy.moved = dict(words["moved"])
    policy.threshold = math.inf if words["threshold"] is None else words["threshold"]
    policy.shut = words["shut"]
    policy.seen, policy.fitted, policy.rang = words["counters"]
    policy.rarity = Rarity(*words["rarity"])
    policy.retired = set(words["retired"])
    policy.alarm.evidence, policy.alarm.holds = words["alarm"]
    policy.watch.evidence, policy.watch.held = words["watch"]
    if words["curve"] is not None:
        a, b, ceiling, cover = words["curve"]
        policy.curve = Curve(a, b, ceiling, tuple(cover))
    policy.rows = [tuple(row) for row in arrays["rows"].tolist()]
    policy.recent = [tuple(row) for row in arrays["recent"].tolist()]
    policy.right = arrays["right"].tolist()
    policy.tries, policy.rights = arrays["tries"].tolist()
    metric = policy.metric
    metric.members, metric.sums = arrays["members"].tolist(), arrays["sums"].copy()
    metric.learned = words["learned"]
    metric.scatter = arrays["scatter"].copy()
    metric.means = arrays.get("means", metric.means[:0]).copy()
    if "axes" in arrays:
        metric.axes, metric.middle, metric.spread = arrays["axes"], arrays["middle"], arrays["spread"]
    if "weights" in arrays:
        policy.verifier = Verifier()
        policy.verifier.mean, policy.verifier.scale = arrays["mean"], arrays["scale"]
        policy.verifier.weights = arrays["weights"]
