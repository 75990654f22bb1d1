"""The one place that talks to OpenVINO GenAI: a loaded model, requests added to it, tokens read after each step.

Knows token ids only: no text, no HTTP, no socket.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from pathlib import Path
from typing import Any

from trimtab.engines.drafter import drafter
from trimtab.engines.governor import Governor
from trimtab.engines.loaded import STEP_TOKENS, Loaded
from trimtab.engines.prefix import BLOCK
from trimtab.engines.prepared import PreparedModel, prepare
from trimtab.engines.protocol import Add, Batch, Form, Grammar, Piece, Profile, Ready, pack
from trimtab.errors import MissingExtra

_PLACE = re.compile(r"^.*\.(cc|cpp|hpp):\d+:\s*")  # where in the engine's own source an error was raised
RECOMPUTED = 96  # tokens of a prompt: to compute more of them again costs about what drafting a short answer gains
# Drafting computes a prompt in one piece, which holds up all others: not where its tokens times their number are more.
STALLING = 3072
# Bytes per cached number, with scales and zero points, as the engine itself reports for the CPU.
_KV_BYTES = {"u8": 1.375, "bf16": 2.0, "f32": 4.0}


class _Live:
    """A request inside the engine: `length` tokens are drafted for it at each of the `steps` after its first token."""

    __slots__ = ("add", "cached", "handle", "length", "logprobs", "place", "started", "steps", "tokens", "written")

    def __init__(self, add: Add, place: Loaded, handle: Any, length: int) -> None:
        self.add, self.place, self.handle, self.length = add, place, handle, length
        self.cached = place.prefix.cached(add.prompt)
        self.started = False
        self.steps = 0
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.written: list[int] = []

    @property
    def fresh(self) -> int:
        """Tokens of its prompt that have to be computed (est.)."""
        return len(self.add.prompt) // 4 - self.cached

    @property
    def drafted(self) -> tuple[int, int]:
        """Tokens drafted and those of them taken (est.: the last step drafts no more than there is room for)."""
        if not self.length or not self.started:
            return 0, 0
        taken = max(0, len(self.written) - 1 - self.steps)
        return max(taken, self.steps * self.length), taken


class _Window:
    """What the steps between two readings of all streams took, if they were all of one kind."""

    def __init__(self) -> None:
        self.seconds, self.tokens = 0.0, 0
        self.kind: tuple[int, bool] | None = None  # concurrency, whether all drafted
        self.mixed = False

    def stepped(self, kind: tuple[int, bool] | None, seconds: float) -> None:
        self.mixed = self.mixed or kind is None or (self.kind is not None and kind != self.kind)
        self.kind = kind
        self.seconds += seconds


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
        kv = model.cached_as
        per_token = model.layers * 2 * model.kv_heads * model.head_dim * _KV_BYTES[kv]
        blocks = kv_blocks(model.context, profile.max_seqs, per_token, profile.kv_mib)
        self._plain = Loaded(openvino_genai, model, profile, blocks)
        self._drafting: Loaded | None = None
        self._governor: Governor | None = None
        if profile.draft:
            found = drafter(profile.draft, profile.draft_lengths, model, cache)
            self._drafting = Loaded(openvino_genai, model, profile, blocks, found)
            self._governor = Governor(found.ladder)
        self._eos = set(model.eos_token_ids)
        self._live: dict[int, _Live] = {}
        self._pause, self._told = pause, 0.0
        self._window = _Window()
        self._running = openvino_genai.GenerationStatus.RUNNING
        self._places = profile.max_seqs
        self._queue: deque[Add] = deque()
        pools = 2 if self._drafting else 1
        self.ready = _ready(model, blocks, int(per_token * blocks * BLOCK * pools))

    @property
    def busy(self) -> bool:
        """Whether a step has work to do."""
        return bool(self._live or self._queue)

    def add(self, message: Add) -> Piece | None:
        """Take a request in. A Piece is the refusal of one that the engine does not take.

        With a drafter it waits for the next step: only then is it known with how many others it came.
        """
        if len(self._live) >= self._places or self._governor is not None:
            self._queue.append(message)
            return None
        return self._enter(message)

    def _enter(self, message: Add) -> Piece | None:
        """Into the engine, at the draft length that the governor gives; one of 0 goes to the plain pipeline."""
        length, place = 0, self._plain
        if self._governor is not None and self._drafting is not None and _draftable(message):
            crowd = len(self._live) + len(self._queue) + 1
            length = self._governor.choose(crowd)
            # Each pipeline has a cache of its own; alone nobody waits for a prompt that is computed again.
            if length and crowd > 1:
                held = self._drafting.prefix.cached(message.prompt)
                lost = place.prefix.cached(message.prompt) - held
                fresh = len(message.prompt) // 4 - held
                stalls = self._drafting.whole and fresh * self._governor.crowd > STALLING
                length = 0 if lost > RECOMPUTED or stalls else length
            place = self._drafting if length else place
        try:
            handle = place.enter(message.id, message.prompt, self._config(message), length)
        except (RuntimeError, TypeError, ValueError) as error:
            return Piece(message.id, [], [], "refused", 0, _last_line(error))
        self._live[message.id] = _Live(message, place, handle, length)
        return None

    def cancel(self, number: int) -> None:
        """Drop a request; the engine frees its slot at the next step."""
        live = self._live.pop(number, None)
        if live is not None:
            live.handle.cancel()
            if live.started:
                live.place.prefix.add(live.add.prompt + pack(live.written[:-1]))
        else:
            self._queue = deque(waiting for waiting in self._queue if waiting.id != number)

    def step(self) -> Batch | None:
        """One step of the engine: a token for each running request, or a piece of somebody's prompt.

        None when there is nothing to tell yet, which never happens without a `pause`.
        """
        pieces: list[Piece] = []
        # With prompts cut into pieces, the engine pays no heed to max_num_seqs, so places are given out here.
        room = STEP_TOKENS
        while self._queue and len(self._live) < self._places and room > 0:
            message = self._queue.popleft()
            refused = self._enter(message)
            pieces += [refused] if refused else []
            if not refused and (live := self._live[message.id]).place.whole:
                room -= live.fresh
        pieces += self._step()
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
            self._measure()
        return self._batch(pieces)

    def _step(self) -> list[Piece]:
        """One step of each pipeline that has work. The pieces are refusals."""
        pieces: list[Piece] = []
        begun = time.process_time() if self._governor else 0.0
        try:
            self._plain.step()
        except RuntimeError as error:
            pieces = self._refuse_grammars(error)
        if self._drafting is None:
            return pieces
        if self._drafting.step():
            for live in self._live.values():
                live.steps += live.started and live.length > 0
        # What a token costs is read off steps in which nobody's prompt was computed and all went one way.
        ways = {live.length > 0 for live in self._live.values() if live.started}
        pure = len(ways) == 1 and all(live.started for live in self._live.values())
        kind = (len(self._live), ways.pop()) if pure else None
        self._window.stepped(kind, time.process_time() - begun)
        return pieces

    def _measure(self) -> None:
        window, self._window = self._window, _Window()
        if self._governor is not None and window.kind is not None and not window.mixed:
            self._governor.note(*window.kind, window.tokens, window.seconds)

    def _batch(self, pieces: list[Piece]) -> Batch:
        told = [place.metrics() for place in (self._plain, self._drafting) if place is not None]
        running = min(sum(each.scheduled_requests for each in told), len(self._live))
        waiting = len(self._live) - running + len(self._queue)
        lengths = self._governor.lengths if self._governor else ()
        return Batch(pieces, running, waiting, max(each.cache_usage for each in told) / 100, lengths)

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
        others = [live for live in self._live.values() if live not in guilty and live.place is self._plain]
        self._live = {number: live for number, live in self._live.items() if live.place is not self._plain}
        self._plain.start()
        for live in others:
            if live.add.grammar:
                pieces.append(Piece(live.add.id, [], [], "lost", live.cached))
                continue
            config = self._config(live.add)
            config.max_new_tokens = live.add.max_tokens - len(live.written)
            live.handle = self._plain.enter(live.add.id, live.add.prompt + pack(live.written), config)
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
            live.place.prefix.add(live.add.prompt)
        self._window.tokens += len(fresh)
        live.tokens += fresh
        live.written += fresh
        if not finish and not (due and live.add.streamed):
            return None
        if finish:  # the last token is never computed on, so its key and value are not in the cache
            live.place.prefix.add(live.add.prompt + pack(live.written[:-1]))
        drafted, taken = live.drafted
        piece = Piece(live.add.id, live.tokens, live.logprobs, finish, live.cached, "", drafted, taken)
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


def _draftable(message: Add) -> bool:
    """Only where what is drafted cannot change what is said: greedy, no penalties, no grammar, no log-probabilities."""
    sampling = message.sampling
    plain = (sampling.presence, sampling.frequency, sampling.repetition) == (0.0, 0.0, 1.0)
    return sampling.greedy and plain and message.grammar is None and not message.logprobs


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
