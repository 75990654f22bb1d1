"""An OpenAI-style embeddings endpoint as an encoder. Knows no model."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trimtab.errors import ConfigError, UpstreamError

if TYPE_CHECKING:
    import numpy as np

KEY = "TRIMTAB_EMBEDDINGS_KEY"
TIMEOUT = 10.0  # seconds; the lookup that waits is then a miss
MOST_TEXTS = 256


class Remote:
    """`spec` is `URL#model`; the key, if the endpoint wants one, is in $TRIMTAB_EMBEDDINGS_KEY."""

    def __init__(self, spec: str) -> None:
        self.url, _, self.model = spec.partition("#")
        if not self.model:
            raise ConfigError(f"the encoder {spec!r} names no model: write it after the address, as in {spec}#model")
        # The endpoint may change its model without a word; asking it one text tells at least its width.
        self.dims = len(self._ask(["width"])[0])
        self.version = hashlib.sha256(f"{self.url} {self.model} {self.dims}".encode()).hexdigest()[:16]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """[texts, dims] float32 at unit length. Errors: UpstreamError."""
        import numpy as np

        rows = [row for start in range(0, len(texts), MOST_TEXTS) for row in self._ask(texts[start:][:MOST_TEXTS])]
        if any(len(row) != self.dims for row in rows):
            raise UpstreamError(f"{self.url} changed the width of its vectors: build the cache again")
        vectors = np.array(rows, np.float32).reshape(len(rows), self.dims)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or (lengths == 0).any():
            raise UpstreamError(f"{self.url} gave a vector without direction: check its model {self.model!r}")
        unit: np.ndarray = vectors / lengths
        return unit

    def warm(self) -> None:
        """Nothing: each text is paid for."""

    def _ask(self, texts: Sequence[str]) -> list[list[float]]:
        body = json.dumps({"model": self.model, "input": list(texts), "encoding_format": "float"}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        if key := os.environ.get(KEY):
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return _rows(json.load(answer), len(texts))
        except (OSError, http.client.HTTPException, ValueError, TypeError, LookupError) as error:
            raise UpstreamError(f"{self.url} gave no embeddings ({error}): check its address, key and model") from error


def _rows(answer: Any, wanted: int) -> list[list[float]]:
    """The vectors in the order of the texts; ValueError, TypeError or LookupError for anything else."""
    rows: list[list[float]] = [[] for _ in range(wanted)]
    for item in answer["data"]:
        rows[range(wanted)[item["index"]]] = [float(number) for number in item["embedding"]]
    if len(answer["data"]) != wanted or not all(rows):
        raise ValueError("not one vector for each text")
    return rows
