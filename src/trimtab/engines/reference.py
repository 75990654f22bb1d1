"""Full logits of a prepared model by the plain OpenVINO runtime, in float32: what tests and quality gates use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimtab.engines.ir import MODEL
from trimtab.engines.prepared import PreparedModel
from trimtab.errors import MissingExtra, ModelError

if TYPE_CHECKING:
    import numpy as np


def reference_logits(prepared: PreparedModel, ids: Sequence[int]) -> np.ndarray:
    """Logits [len(ids), vocab] (float32) after each token of `ids`; arithmetic, keys and values are float32 too.

    Errors: ModelError for a GGUF file, which the plain runtime cannot open, or for an empty `ids`.
    """
    try:
        import numpy as np
        import openvino
    except ImportError as error:
        raise MissingExtra("engine", "openvino") from error

    if prepared.precision == "gguf":
        raise ModelError(f"{prepared.source}: full logits need an IR: prepare the original checkpoint instead")
    if not ids:
        raise ModelError("there are no token ids to compute logits for: give at least one")
    exact = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    model = openvino.Core().compile_model(str(prepared.folder / MODEL), "CPU", exact)
    row = np.array([ids], dtype=np.int64)
    feed = {"input_ids": row, "attention_mask": np.ones_like(row), "position_ids": np.arange(len(ids))[None]}
    names = {name for port in model.inputs for name in port.names}
    if "beam_idx" in names:
        feed["beam_idx"] = np.zeros(1, dtype=np.int32)
    request = model.create_infer_request()
    request.infer({name: value for name, value in feed.items() if name in names})
    return np.array(request.get_tensor("logits").data[0], dtype=np.float32)
