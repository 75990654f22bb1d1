"""The drafter's training: Kullback-Leibler divergence from the target, on the conversations that were recorded.

A plain loop. A drafter is right when its first choice is the target's, so forward KL on such text is enough;
the recorded answers need not be the target's. Y. Zhou et al. (2024), "DistillSpec", arXiv 2310.08461.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.errors import DiskFull, FormatError, require
from trimtab.levers.speculation.conversations import Text
from trimtab.levers.speculation.options import Options

if TYPE_CHECKING:
    import torch

TOKENS = 4096  # in a batch at most, padding included
KEPT_EVERY = 50  # steps
WARMUP, DECAY = 0.05, 0.5  # shares of the steps


class Distilled:
    """A target, its drafter, and where training stands."""

    def __init__(self, target: Path, options: Options) -> None:
        """MissingExtra without torch and transformers."""
        require("tune", "torch", "transformers")
        import torch
        from transformers import AutoModelForCausalLM

        torch.manual_seed(options.seed)
        if options.threads:
            torch.set_num_threads(options.threads)
        self.options = options
        self.target = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32).eval()
        self.drafter = _start(self.target, options)
        self.step = self.steps = 0

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.drafter.parameters())

    def train(self, texts: Sequence[Text], say: Callable[[int, int, float], None], kept: Path | None = None) -> None:
        """All epochs; `say` gets step, steps and the loss of each. FormatError without texts.

        A run that was stopped goes on from the file `kept`, if it was of the same texts and options.
        """
        import torch

        if not texts:
            raise FormatError(
                "no recorded conversation can be told in the target's tokens: is it the model that served?"
            )
        chance = random.Random(self.options.seed)
        plan = [chosen for _ in range(self.options.epochs) for chosen in batches(texts, self.options.rows, chance)]
        self.steps = len(plan)
        optimisers = _optimisers(self.drafter, self.options.rate)
        run = _name(texts, self.options)
        self.step = self._resume(kept, run, optimisers)
        for chosen in plan[self.step :]:
            self.step += 1
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = self.options.rate * _pace(self.step, self.steps)
            loss = self._loss(chosen)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.drafter.parameters(), 1.0)
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            say(self.step, self.steps, float(loss.detach()))
            if kept is not None and self.step % KEPT_EVERY == 0:
                self._keep(kept, run, optimisers)
        if kept is not None:
            kept.unlink(missing_ok=True)

    def _keep(self, kept: Path, run: str, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        import torch

        states = [optimiser.state_dict() for optimiser in optimisers]
        state = {"run": run, "step": self.step, "model": self.drafter.state_dict(), "optimisers": states}
        fresh = kept.with_suffix(".new")
        try:
            torch.save(state, fresh)
            fresh.replace(kept)
        except (OSError, RuntimeError) as error:  # the library reports a full disk as either
            fresh.unlink(missing_ok=True)
            raise DiskFull(f"no room for {kept}: free some disk space, then build again") from error

    def _resume(self, kept: Path | None, run: str, optimisers: Sequence[torch.optim.Optimizer]) -> int:
        """The step that the kept run stood at; 0 where there is none of the same."""
        import torch

        if kept is None or not kept.exists():
            return 0
        try:
            state = torch.load(kept, weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
            return 0
        if state.get("run") != run:
            return 0
        self.drafter.load_state_dict(state["model"])
        for optimiser, held in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(held)
        return int(state["step"])

    def _loss(self, chosen: Sequence[Text]) -> torch.Tensor:
        """Mean KL(target ‖ drafter), in nats, over the places before each counted token."""
        import torch
        from torch.nn.functional import kl_div, log_softmax

        inputs, places = _padded(chosen)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                wanted = _logits(self.target, inputs, places)
            given = _logits(self.drafter, inputs, places)
        return kl_div(
            log_softmax(given.float(), -1), log_softmax(wanted.float(), -1), reduction="batchmean", log_target=True
        )

    def agreements(self, prompt: Sequence[int], answer: Sequence[int]) -> list[bool]:
        """For each token of `answer` after the first: whether the drafter's first choice is that token."""
        import torch

        ids = torch.tensor([[*prompt, *answer]])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            hidden = self.drafter.model(ids).last_hidden_state[0, len(prompt) : -1]
            chosen = self.drafter.lm_head(hidden).argmax(-1)
        return (chosen == ids[0, len(prompt) + 1 :]).tolist()  # type: ignore[no-any-return]

    def save(self, folder: Path) -> None:
        """The checkpoint, in bfloat16."""
        import torch

        self.drafter.to(torch.bfloat16).save_pretrained(folder)


def _name(texts: Sequence[Text], options: Options) -> str:
    """What makes two runs the same."""
    return hashlib.sha256(msgspec.json.encode([options, [text.ids for text in texts]])).hexdigest()


def _start(target: Any, options: Options) -> Any:
    """A drafter with the target's own first layers, embeddings and heads' sizes as far as they fit."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    told = target.config.to_dict()
    for name in ("layer_types", "quantization_config", "torch_dtype", "dtype"):
        told.pop(name, None)
    hidden = options.hidden or min(256, told["hidden_size"])
    layers = min(options.layers, told["num_hidden_layers"])
    inner = min(options.inner, told["intermediate_size"])
    size = getattr(target.config, "head_dim", None) or told["hidden_size"] // told["num_attention_heads"]
    shared = told["num_attention_heads"] // told["num_key_value_heads"]
    kv_heads = max(1, min(told["num_key_value_heads"], hidden // (size * shared)))
    sizes = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": inner,
        "head_dim": size,
        "num_key_value_heads": kv_heads,
        "num_attention_heads": kv_heads * shared,
        "tie_word_embeddings": True,
    }
    kind = told.pop("model_type")
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(told | sizes)), dtype=torch.float32)
    own, theirs = made.state_dict(), target.state_dict()
    with torch.no_grad():
        for name, weight in own.items():
            _take(weight, theirs.get(name))
    made.generation_config = target.generation_config
    return made


def _take(weight: torch.Tensor, theirs: torch.Tensor | None) -> None:
    """The corner of the target's tensor that `weight` has room for."""
    if theirs is None or theirs.ndim != weight.ndim:
        return
    room = tuple(slice(0, min(a, b)) for a, b in zip(weight.shape, theirs.shape, strict=True))
    weight[room] = theirs[room]


def batches(texts: Sequence[Text], rows: int, chance: random.Random) -> Iterator[list[Text]]:
    """Texts of about one length together, in a random order of batches."""
    order = sorted(texts, key=lambda text: (len(text.ids), chance.random()))
    made: list[list[Text]] = [[]]
    for text in order:
        if len(made[-1]) == rows or (made[-1] and (len(made[-1]) + 1) * len(text.ids) > TOKENS):
            made.append([])
        made[-1].append(text)
    chance.shuffle(made)
    yield from made


def _padded(chosen: Sequence[Text]) -> tuple[dict[str, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Ids [B, T], padded on the right where nothing looks, and (rows, places) before each counted token."""
    import torch

    width = max(len(text.ids) for text in chosen)
    ids = torch.tensor([text.ids + [0] * (width - len(text.ids)) for text in chosen])
    pairs = [(row, place - 1) for row, text in enumerate(chosen) for place in text.counted if place]
    return {"input_ids": ids}, (torch.tensor([p[0] for p in pairs]), torch.tensor([p[1] for p in pairs]))


def _logits(model: Any, inputs: dict[str, torch.Tensor], places: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    made: torch.Tensor = model.lm_head(model.model(**inputs, use_cache=False).last_hidden_state[places])
    return made


def _optimisers(model: Any, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the rest (K. Jordan et al. 2024)."""
    import torch

    inner = {name: p for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2}
    rest = [p for name, p in model.named_parameters() if name not in inner]
    muon = torch.optim.Muon(inner.values(), lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)]


def _pace(step: int, steps: int) -> float:
    """The share of the peak rate: up over WARMUP, then level, then down as a cosine over DECAY."""
    if step < steps * WARMUP:
        return step / (steps * WARMUP)
    left = (steps - step) / (steps * DECAY)
    return 1.0 if left >= 1 else 0.5 - 0.5 * math.cos(math.pi * left)
