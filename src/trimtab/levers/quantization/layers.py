"""What flows into each linear layer on given samples: second moments to round by, ranges and clipping."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trimtab.engines.checkpoint import Checkpoint
from trimtab.engines.graph import build, linear_node
from trimtab.engines.reference import Reference
from trimtab.errors import MissingExtra
from trimtab.levers.quantization.samples import Sample

if TYPE_CHECKING:
    import numpy as np

BLOCK = 64  # tokens; lengths are filled up to a multiple of it
# One of several matrices that see the same input, and the others.
SHARED = {
    "self_attn.q_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn.o_proj": ("self_attn.o_proj",),
    "mlp.gate_proj": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down_proj": ("mlp.down_proj",),
}


def inputs(layers: int) -> dict[str, tuple[str, ...]]:
    """The tapped module of each input -> the weights that it meets."""
    return {
        f"model.layers.{layer}.{one}": tuple(f"model.layers.{layer}.{name}.weight" for name in names)
        for layer in range(layers)
        for one, names in SHARED.items()
    }


class Tapped:
    """The unrounded model, float32, with every linear layer's input as an output."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        try:
            import openvino  # noqa: F401
        except ImportError as error:
            raise MissingExtra("engine", "openvino") from error
        self._modules = list(inputs(checkpoint.shape.layers))
        model = build(checkpoint.shape, checkpoint.weight, "f32")
        nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
        model.add_outputs([nodes[linear_node(name)].input_value(0) for name in self._modules])
        self._reference = Reference(model, BLOCK)

    def run(self, ids: Sequence[int]) -> dict[str, np.ndarray]:
        """Module -> [tokens, columns] float32; gone with the next run."""
        self._reference.logits(ids)
        return {name: self._reference.seen(place + 1) for place, name in enumerate(self._modules)}


class Moments:
    """Of each module's input over samples: sum of x x^T [columns, columns], largest magnitude, tokens."""

    def __init__(self) -> None:
        self.second: dict[str, np.ndarray] = {}
        self.largest: dict[str, float] = {}
        self.tokens = 0

    def add(self, seen: dict[str, np.ndarray]) -> None:
        import numpy as np

        for name, given in seen.items():
            # In float64, so that the order of summing tells nothing.
            product = (given.T @ given).astype(np.float64)
            self.second[name] = self.second[name] + product if name in self.second else product
            self.largest[name] = max(self.largest.get(name, 0.0), float(np.abs(given).max()))
        self.tokens += len(next(iter(seen.values())))


def moments(tapped: Tapped, samples: Iterable[Sample], told: Any = None) -> Moments:
    """Over all tokens of `samples`; `told()` after each."""
    found = Moments()
    for sample in samples:
        found.add(tapped.run(sample.ids))
        if told is not None:
            told()
    return found


def clipped(seen: dict[str, np.ndarray], ranges: dict[str, float]) -> float:
    """The share of activations beyond the static range that was found in calibration."""
    import numpy as np

    beyond = sum(int((np.abs(given) > ranges[name]).sum()) for name, given in seen.items())
    return beyond / sum(given.size for given in seen.values())
