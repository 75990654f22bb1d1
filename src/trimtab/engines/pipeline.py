"""The one place that talks to OpenVINO GenAI: a loaded model, requests added to it, tokens read after each step.

Knows token ids only: no text, no HTTP, no socket.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections import deque
from pathlib import Path
from typing import Any

from trimtab.engines.prefix import BLOCK, PrefixIndex
from trimtab.engines.prepared import PreparedModel, prepare
from trimtab.engines.protocol import Add, Batch, Form, Grammar, Piece, Profile, Ready, pack
from trimtab.errors import MissingExtra, ModelError

_PLACE = re.compile(r"^.*\.(cc|cpp|hpp):\d+:\s*")  # where in the engine's own source an error was raised
STEP_TOKENS = 256  # a longer prompt is computed in pieces of this size, so that other streams do not stall
# Bytes per cached number, with scales and zero points, as the engine itself reports for the CPU.
_KV_BYTES = {"u8": 1.375, "bf16": 2.0, "f32": 4.0}


class _Live:
    """A request inside the engine."""

    __slots__ = ("add", "cached", "handle", "logprobs", "started", "tokens", "written")

    def __init__(self, add: Add, handle: Any, cached: int) -> None:
        self.add, self.handle, self.cached = add, handle, cached
        self.started = False
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.written: list[int] = []


class Pipeline:
    """A model in the engine. One thread only may use it."""

    def __init__(self, profile: Profile, pause: float = 0.0) -> None:
        """Prepare and load what `profile` names; `pause`: the least seconds between two pieces of a stream.

        The first tokens and the last are never held back. Errors: ModelError, MissingExtra.
        """
        try:
            import openvino_genai
        except ImportError as error:
            raise MissingExtra("engine", "openvino-genai") from error
        self._genai = openvino_genai
        cache = Path(profile.cache) if profile.cache else None
        model = prepare(profile.model, profile.precision, cache)
        exact = profile.precision == "f32"
        kv = model.kv or ("f32" if exact else "u8")
        per_token = model.layers * 2 * model.kv_heads * model.head_dim * _KV_BYTES[kv]
        blocks = kv_blocks(model.context, profile.max_seqs, per_token, profile.kv_mib)
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = 0
        scheduler.num_kv_blocks = blocks
        scheduler.max_num_seqs = profile.max_seqs
        scheduler.max_num_batched_tokens = STEP_TOKENS
        scheduler.enable_prefix_caching = True
        properties: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": profile.threads or len(os.sched_getaffinity(0)),
            "KV_CACHE_PRECISION": kv,
        }
        if exact:
            properties |= {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
        self._parts = (str(model.folder), scheduler, "CPU", properties)
        try:
            self._engine: Any = openvino_genai.ContinuousBatchingPipeline(*self._parts)
        except RuntimeError as error:
            raise ModelError(f"{model.source}: the engine cannot load it: {_last_line(error)}") from error
        self._eos = set(model.eos_token_ids)
        self._blocks = blocks
        self._prefix = PrefixIndex(blocks)
        self._live: dict[int, _Live] = {}
        self._pause, self._told = pause, 0.0
        self._running = openvino_genai.GenerationStatus.RUNNING
        self._places = profile.max_seqs
        self._queue: deque[Add] = deque()
        self.ready = _ready(model, blocks, int(per_token * blocks * BLOCK))

    @property
    def busy(self) -> bool:
        """Whether a step has work to do."""
        return bool(self._live or self._queue)

    def add(self, message: Add) -> Piece | None:
        """Take a request in. A Piece is the refusal of one that the engine does not take."""
        if len(self._live) >= self._places:
            self._queue.append(message)
            return None
        try:
            handle = self._enter(message.id, message.prompt, self._config(message))
        except (RuntimeError, TypeError, ValueError) as error:
            return Piece(message.id, [], [], "refused", 0, _last_line(error))
        self._live[message.id] = _Live(message, handle, self._prefix.cached(message.prompt))
        return None

    def _enter(self, number: int, prompt: bytes, config: Any) -> Any:
        import numpy as np
        import openvino

        ids = np.frombuffer(prompt, np.int32).astype(np.int64).reshape(1, -1)
        return self._engine.add_request(number, openvino.Tensor(ids), config)

    def cancel(self, number: int) -> None:
        """Drop a request; the engine frees its slot at the next step."""
        live = self._live.pop(number, None)
        if live is not None:
            live.handle.cancel()
            if live.started:
                self._prefix.add(live.add.prompt + pack(live.written[:-1]))
        else:
            self._queue = deque(waiting for waiting in self._queue if waiting.id != number)

    def step(self) -> Batch | None:
        """One step of the engine: a token for each running request, or a piece of somebody's prompt.

        None when there is nothing to tell yet, which never happens without a `pause`.
        """
        pieces: list[Piece] = []
        # With prompts cut into pieces, the engine pays no heed to max_num_seqs, so places are given out here.
        while self._queue and len(self._live) < self._places:
            refused = self.add(self._queue.popleft())
            pieces += [refused] if refused else []
        if self._engine.has_non_finished_requests():
            try:
                self._engine.step()
            except RuntimeError as error:
                pieces += self._refuse_grammars(error)
        now = time.monotonic()
        due = now - self._told >= self._pause
        for live in list(self._live.values()):
            if not due and live.started and live.handle.get_status() == self._running:
                continue  # its tokens wait inside the engine, where they cost nothing
            piece = self._read(live, due)
            if piece is not None:
                pieces.append(piece)
                if piece.finish:
                    del self._live[piece.id]
        if self._live and not due and not pieces:
            return None
        if due:  # for all streams at once, so that the server wakes once
            self._told = now
        metrics = self._engine.get_metrics()
        running = min(metrics.scheduled_requests, len(self._live))
        waiting = len(self._live) - running + len(self._queue)
        return Batch(pieces, running, waiting, metrics.cache_usage / 100)

    def _refuse_grammars(self, error: RuntimeError) -> list[Piece]:
        """A grammar is compiled inside the step; a bad one fails this step and, even cancelled, every later one.

        So the engine is built anew and the other requests go on from where they were. Those in the middle of a grammar
        of their own cannot, and end as if the worker had died.
        """
        guilty = [live for live in self._live.values() if live.add.grammar and not live.started]
        if not guilty:
            raise error
        message = f"the engine cannot bind output to this schema: {_last_line(error)}"
        pieces = [Piece(live.add.id, [], [], "refused", 0, message) for live in guilty]
        others = [live for live in self._live.values() if live not in guilty]
        self._live = {}
        self._engine = None  # freed first, so that two never stand in memory
        self._engine = self._genai.ContinuousBatchingPipeline(*self._parts)
        self._prefix = PrefixIndex(self._blocks)
        for live in others:
            if live.add.grammar:
                pieces.append(Piece(live.add.id, [], [], "lost", live.cached))
                continue
            config = self._config(live.add)
            config.max_new_tokens = live.add.max_tokens - len(live.written)
            live.handle = self._enter(live.add.id, live.add.prompt + pack(live.written), config)
            self._live[live.add.id] = live
        return pieces

    def _read(self, live: _Live, due: bool) -> Piece | None:
        finish = ""
        fresh: list[int] = []
        while live.handle.can_read():
            for output in live.handle.read().values():
                fresh += output.generated_ids
                if live.add.logprobs:
                    live.logprobs += output.generated_log_probs
                finish = self._finish(output.finish_reason)
        if not fresh and not finish and not (due and live.tokens and live.add.streamed):
            return self._silent(live)
        if not live.started:
            live.started = due = True
            self._prefix.add(live.add.prompt)
        live.tokens += fresh
        live.written += fresh
        if not finish and not (due and live.add.streamed):
            return None
        if finish:  # the last token is never computed on, so its key and value are not in the cache
            self._prefix.add(live.add.prompt + pack(live.written[:-1]))
        piece = Piece(live.add.id, live.tokens, live.logprobs, finish, live.cached)
        live.tokens, live.logprobs = [], []
        return piece

    def _silent(self, live: _Live) -> Piece | None:
        """A request that the engine gave up without a word, as it does when the cache cannot hold it."""
        if live.handle.get_status() == self._genai.GenerationStatus.IGNORED:
            return Piece(live.add.id, live.tokens, live.logprobs, "ignored", live.cached)
        return None

    def _finish(self, reason: Any) -> str:
        if reason == self._genai.GenerationFinishReason.NONE:
            return ""
        return "length" if reason == self._genai.GenerationFinishReason.LENGTH else "stop"

    def _config(self, message: Add) -> Any:
        config = self._genai.GenerationConfig()
        config.max_new_tokens = message.max_tokens
        if self._eos:
            config.set_eos_token_id(min(self._eos))
            config.stop_token_ids = self._eos
        config.logprobs = int(message.logprobs)
        sampling = message.sampling
        config.presence_penalty = sampling.presence
        config.frequency_penalty = sampling.frequency
        config.repetition_penalty = sampling.repetition
        if not sampling.greedy:
            config.do_sample = True
            config.temperature = sampling.temperature
            config.top_p = sampling.top_p
            config.min_p = sampling.min_p
            config.rng_seed = sampling.seed
            if sampling.top_k:
                config.top_k = sampling.top_k
        if message.grammar is not None:
            config.structured_output_config = self._structured(message.grammar)
        return config

    def _structured(self, grammar: Grammar) -> Any:
        kinds = self._genai.StructuredOutputConfig

        def content(form: Form) -> Any:
            return kinds.EBNF(form.ebnf) if form.ebnf else kinds.JSONSchema(form.schema)

        if grammar.form is not None:
            return kinds(grammar=grammar.form.ebnf) if grammar.form.ebnf else kinds(json_schema=grammar.form.schema)
        tags = [kinds.Tag(tag.begin, content(tag.form), tag.end) for tag in grammar.tags]
        several = kinds.TagsWithSeparator(tags, grammar.separator, at_least_one=True, stop_after_first=grammar.only_one)
        return kinds(structural_tags_config=several)


def kv_blocks(context: int, max_seqs: int, per_token: float, kv_mib: int) -> int:
    """Blocks for `max_seqs` sequences of the whole context, one more block each, within `kv_mib` MiB."""
    wanted = max_seqs * (math.ceil(context / BLOCK) + 1)
    return max(2, min(wanted, int(kv_mib * 2**20 / (per_token * BLOCK))))


def _ready(model: PreparedModel, blocks: int, kv_bytes: int) -> Ready:
    return Ready(
        name=model.name,
        source=str(model.source),
        folder=str(model.folder),
        precision=model.precision,
        context=model.context,
        vocab=model.vocab,
        eos_token_ids=model.eos_token_ids,
        tokenizer_json=str(model.tokenizer_json or ""),
        chat_template=model.chat_template,
        digest=model.digest,
        kv_tokens=(blocks - 1) * BLOCK,
        kv_bytes=kv_bytes,
        grammar=model.grammar,
    )


def _last_line(error: Exception) -> str:
    """The engine's own reason, without the source files that it lists first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _PLACE.sub("", lines[-1] if lines else type(error).__name__)[:300]
