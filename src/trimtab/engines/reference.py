"""Full logits of a model by the plain OpenVINO runtime, in float32: what tests, calibration and quality gates use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trimtab.engines.ir import MODEL
from trimtab.engines.prepared import PreparedModel
from trimtab.errors import MissingExtra, ModelError

if TYPE_CHECKING:
    import numpy as np

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


class Reference:
    """A compiled decoder: a graph of `engines.graph`, or the path of an IR. Arithmetic, keys and values are float32.

    Runs are filled up at the end to a multiple of `block` tokens, which nothing before them sees: the runtime makes its
    kernels anew for every length it has not had.
    """

    def __init__(self, model: Any, block: int = 1) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingExtra("engine", "openvino") from error
        compiled = openvino.Core().compile_model(model, "CPU", EXACT)
        self._block, self._length = block, 0
        self._inputs = {name for port in compiled.inputs for name in port.names}
        self._request = compiled.create_infer_request()

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """[len(ids), vocab] float32, after each token of `ids`. Errors: ModelError for an empty `ids`."""
        import numpy as np

        if not ids:
            raise ModelError("there are no token ids to compute logits for: give at least one")
        self._length = len(ids)
        row = np.array([[*ids, *[0] * (-len(ids) % self._block)]], dtype=np.int64)
        feed = {"input_ids": row, "attention_mask": np.ones_like(row), "position_ids": np.arange(row.shape[1])[None]}
        feed["beam_idx"] = np.zeros(1, dtype=np.int32)
        self._request.reset_state()
        self._request.infer({name: value for name, value in feed.items() if name in self._inputs})
        return np.array(self._request.get_tensor("logits").data[0, : len(ids)], dtype=np.float32)

    def seen(self, number: int) -> np.ndarray:
        """What output `number` [tokens, ...] gave in the last run: a view that the next run overwrites."""
        found: np.ndarray = self._request.get_output_tensor(number).data[0, : self._length]
        return found


def reference_logits(prepared: PreparedModel, ids: Sequence[int]) -> np.ndarray:
    """Logits [len(ids), vocab] (float32) after each token of `ids`.

    Errors: ModelError for a GGUF file, which the plain runtime cannot open, or for an empty `ids`.
    """
    if prepared.precision == "gguf":
        raise ModelError(f"{prepared.source}: full logits need an IR: prepare the original checkpoint instead")
    return Reference(str(prepared.folder / MODEL)).logits(ids)
