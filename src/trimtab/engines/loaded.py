"""A model loaded in OpenVINO GenAI once, plainly or with a drafter: one pipeline of theirs, and how it is asked.

Their drafting pipeline takes no request without a draft length, and their look-up none without one either; so where
requests may go both ways a worker has two of these.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trimtab.engines.drafter import NGRAM, Drafter
from trimtab.engines.prefix import BLOCK, PrefixIndex
from trimtab.engines.prepared import PreparedModel
from trimtab.engines.protocol import Profile
from trimtab.errors import ModelError

STEP_TOKENS = 256  # a longer prompt is computed in pieces of this size, so that other streams do not stall


class Loaded:
    """One of their pipelines. `start` builds it anew."""

    def __init__(
        self, genai: Any, model: PreparedModel, profile: Profile, blocks: int, drafter: Drafter | None = None
    ) -> None:
        """Errors: ModelError with the engine's own reason."""
        self._genai, self._model, self._drafter, self.blocks = genai, model, drafter, blocks
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = 0
        scheduler.num_kv_blocks = blocks
        scheduler.max_num_seqs = profile.max_seqs
        # A prompt cut into pieces comes out of their pipeline with a draft model with its first tokens said twice; so
        # there no step is ever too small for what the cache can hold.
        self.whole = drafter is not None and drafter.folder is not None
        scheduler.max_num_batched_tokens = blocks * BLOCK if self.whole else STEP_TOKENS
        scheduler.enable_prefix_caching = profile.prefix_reuse
        self._reuses = profile.prefix_reuse
        exact = model.precision == "f32"
        properties: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": profile.threads or len(os.sched_getaffinity(0)),
            "KV_CACHE_PRECISION": model.cached_as,
        }
        if exact:
            properties |= {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
        self._parts = (str(model.folder), scheduler, "CPU")
        self._properties = properties
        self._scheduler = scheduler
        self.start()

    @property
    def drafts(self) -> bool:
        return self._drafter is not None

    def start(self) -> None:
        """Load; what was loaded before is freed first, so that two never stand in memory."""
        self._engine: Any = None
        properties = dict(self._properties)
        if self._drafter is not None and self._drafter.folder is None:
            properties["prompt_lookup"] = True
        elif self._drafter is not None:
            folder: Path = self._drafter.folder or Path()
            properties["draft_model"] = self._genai.draft_model(
                str(folder), "CPU", scheduler_config=self._scheduler, **self._properties
            )
        try:
            self._engine = self._genai.ContinuousBatchingPipeline(*self._parts, properties)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()
            raise ModelError(f"{self._model.source}: the engine cannot load it: {reason[-1][:300]}") from error
        self.prefix = PrefixIndex(self.blocks if self._reuses else 0)

    def enter(self, number: int, prompt: bytes, config: Any, length: int = 0) -> Any:
        """Add a request, drafting `length` tokens a step; its handle. Raises what the engine raises."""
        import numpy as np
        import openvino

        if self.drafts:
            config.num_assistant_tokens = length
            if self._drafter is not None and self._drafter.folder is None:
                config.max_ngram_size = NGRAM
        ids = np.frombuffer(prompt, np.int32).astype(np.int64).reshape(1, -1)
        return self._engine.add_request(number, openvino.Tensor(ids), config)

    def step(self) -> bool:
        """One step, if anything is to be done. Raises what the engine raises."""
        if not self._engine.has_non_finished_requests():
            return False
        self._engine.step()
        return True

    def metrics(self) -> Any:
        return self._engine.get_metrics()
