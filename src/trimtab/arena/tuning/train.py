"""Train the shipped models from the oracle's sessions: `python -m trimtab.arena.tuning.train NAME|all`.

A plain loop: cross-entropy on the assistant's tokens, Muon for the matrices (Jordan et al. 2024) and AdamW for the
rest, bf16 autocast. Seeds are fixed; a stopped run resumes from its last checkpoint.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.arena.tuning.corpus import Example, examples
from trimtab.arena.tuning.distil import kl_loss, logits_of, teacher
from trimtab.arena.tuning.model import build
from trimtab.arena.tuning.pack import Row, batch, rows
from trimtab.arena.tuning.recipe import RECIPES, Recipe
from trimtab.arena.tuning.text import END, STOP, save_tokenizer, train_tokenizer
from trimtab.errors import ArenaError, MissingExtra

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

MODELS = Path(__file__).parents[2] / "models"
WORK = Path(".trimtab/tuning")
TOKENIZER_SESSIONS = 2_000
VALIDATION_SESSIONS = 60


def main(argv: list[str] | None = None) -> int:
    """Train the named model, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*RECIPES, "all"])
    parser.add_argument("--steps", type=int, help="another number of steps than the recipe's")
    parser.add_argument("--out", type=Path, default=MODELS, help="where the model folders go")
    args = parser.parse_args(argv)
    for name in RECIPES if args.name == "all" else [args.name]:
        train(RECIPES[name], args.out / name, args.steps)
    return 0


def train(recipe: Recipe, out: Path, steps: int | None = None) -> None:
    """Train one model to the end and write its checkpoint folder."""
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtra("tune", "torch") from error
    torch.manual_seed(recipe.seed)
    steps = steps or recipe.steps
    tokenizer = train_tokenizer((e.text for e in examples("train", TOKENIZER_SESSIONS, 9)), recipe.vocabulary)
    run = Run(recipe, tokenizer, steps, out.parent)
    print(f"{recipe.name}: {run.parameters / 1e6:.2f}M parameters, {steps} steps", flush=True)
    run.resume()
    while run.step < steps:
        run.advance()
    run.finish(out)


class Run:
    """One training run: model, optimisers, data and where it stands."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer, steps: int, models: Path = MODELS) -> None:
        self.recipe, self.tokenizer, self.steps, self.models = recipe, tokenizer, steps, models
        self._teacher: Any = None
        self.model = build(recipe, tokenizer)
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.optimisers = optimisers(self.model, recipe.learning_rate)
        self.padding = int(tokenizer.token_to_id(END) or 0)
        self.stop = int(tokenizer.token_to_id(STOP) or 0)
        self.step, self.tokens, self.counted = 0, 0, 0
        self.log: list[dict[str, float]] = []
        self._rows = batches(recipe, tokenizer, steps)
        self._validation = validation(recipe, tokenizer)
        self._clock = time.process_time()

    def advance(self) -> None:
        """One optimiser step; every 100 a line of progress, every 200 a checkpoint."""
        import torch

        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.recipe.learning_rate * schedule(self.step, self.steps, self.recipe)
        chosen = next(self._rows)
        loss = loss_of(self.model, batch(chosen, self.padding), self._taught_by())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += sum(len(row.ids) for row in chosen)
        self.counted += sum(label >= 0 for row in chosen for label in row.labels)
        if self.step % 100 == 0 or self.step == self.steps:
            self._report(float(loss.detach()))
        if self.step % 200 == 0:
            self._checkpoint()

    def _taught_by(self) -> Any:
        """The teacher from the recipe's share of the steps on, None before."""
        if not self.recipe.teacher or self.step < self.steps * self.recipe.distil:
            return None
        if self._teacher is None:
            self._teacher = teacher(self.models / self.recipe.teacher)
        return self._teacher

    def _report(self, loss: float) -> None:
        held_out, turns = evaluate(self.model, self._validation, self.padding, self.stop)
        seconds = time.process_time() - self._clock
        entry = {"step": self.step, "tokens": self.tokens, "loss": loss, "held_out": held_out, "turns": turns}
        self.log.append({**entry, "cpu_seconds": seconds})
        print(
            f"{self.recipe.name} {self.step}/{self.steps}  loss {loss:.4f}  held-out {held_out:.4f}  "
            f"turns right {turns:.1%}  {self.tokens / 1e6:.2f}M tokens  {seconds:.0f} CPU s",
            flush=True,
        )

    @property
    def _state(self) -> Path:
        return WORK / f"{self.recipe.name}.pt"

    def _checkpoint(self) -> None:
        import torch

        WORK.mkdir(parents=True, exist_ok=True)
        state = {
            "step": self.step,
            "steps": self.steps,
            "counts": (self.tokens, self.counted),
            "log": self.log,
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        torch.save(state, self._state.with_suffix(".tmp"))
        self._state.with_suffix(".tmp").replace(self._state)

    def resume(self) -> None:
        """Go on from the last checkpoint of an unfinished run, if there is one.

        Its length may differ as long as the learning rate has not begun to fall in either.
        """
        import torch

        if not self._state.exists():
            return
        state = torch.load(self._state, weights_only=True)
        begun = state["step"] > min(state["steps"], self.steps) * (1 - self.recipe.decay)
        if state["steps"] != self.steps and begun:
            raise ArenaError(f"{self._state} is of a run of {state['steps']} steps: delete it to start anew")
        self.model.load_state_dict(state["model"])
        for optimiser, values in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        self.step, (self.tokens, self.counted), self.log = state["step"], state["counts"], state["log"]
        for _ in range(self.step):
            next(self._rows)
        print(f"resumed at step {self.step}", flush=True)

    def finish(self, out: Path) -> None:
        """Write the checkpoint folder in the standard layout, weights in bf16, and the training record beside it."""
        import torch

        out.mkdir(parents=True, exist_ok=True)
        self.model.to(torch.bfloat16).save_pretrained(out)
        save_tokenizer(self.tokenizer, out, self.recipe.context)
        record = {
            "parameters": self.parameters,
            "steps": self.steps,
            "tokens": self.tokens,
            "counted_tokens": self.counted,
            "seed": self.recipe.seed,
            "rare": self.recipe.rare,
            **({"teacher": self.recipe.teacher, "distil": self.recipe.distil} if self.recipe.teacher else {}),
            "torch": torch.__version__,
            "log": self.log,
        }
        (out / "training.json").write_text(json.dumps(record, indent=1) + "\n")
        self._state.unlink(missing_ok=True)


def optimisers(model: Any, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    import torch

    inner = {name: p for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2}
    rest = [p for name, p in model.named_parameters() if name not in inner]
    muon = torch.optim.Muon(inner.values(), lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)]


def schedule(step: int, steps: int, recipe: Recipe) -> float:
    """The share of the peak learning rate at a step: warm up, stay, fall linearly to 0."""
    left = (steps - step) / (steps * recipe.decay)
    return min(1.0, (step + 1) / recipe.warmup, left)


def batches(recipe: Recipe, tokenizer: Tokenizer, steps: int) -> Iterator[list[Row]]:
    """An endless stream of fresh batches; no session is seen twice."""
    begin, end = (round(steps * share) for share in recipe.rare)
    plain = _batches(recipe, tokenizer, rare=False)
    yield from itertools.islice(plain, begin)
    yield from itertools.islice(_batches(recipe, tokenizer, rare=True), end - begin)
    yield from plain


def _batches(recipe: Recipe, tokenizer: Tokenizer, *, rare: bool) -> Iterator[list[Row]]:
    first = recipe.seed * 1_000 + 500 * rare
    source: Iterator[Example] = itertools.chain.from_iterable(
        examples("train", 2_000, first + block, rare=rare) for block in itertools.count()
    )
    filled = rows(source, tokenizer, recipe.width)
    while chosen := list(itertools.islice(filled, recipe.rows)):
        yield chosen


def validation(recipe: Recipe, tokenizer: Tokenizer) -> list[Row]:
    """Rows of the validation split, whose templates no training session has."""
    return list(rows(examples("validation", VALIDATION_SESSIONS, 7), tokenizer, recipe.width))


def loss_of(model: Any, inputs: dict[str, torch.Tensor], taught_by: Any = None) -> torch.Tensor:
    """Mean cross-entropy over the counted tokens; with a teacher, plus the KL to its logits, halved."""
    import torch
    from torch.nn.functional import cross_entropy

    labels = inputs.pop("labels")[:, 1:]
    counted = labels >= 0
    with torch.autocast("cpu", torch.bfloat16):
        logits = logits_of(model, inputs, counted)
    loss = cross_entropy(logits.float(), labels[counted])
    if taught_by is None:
        return loss
    with torch.no_grad():
        teachers = logits_of(taught_by, inputs, counted)
    return (loss + kl_loss(logits, teachers, labels[counted])) / 2


def evaluate(model: Any, held_out: list[Row], padding: int, stop: int) -> tuple[float, float]:
    """(mean loss, share of the assistant's turns whose every token is the model's first choice)."""
    import torch
    from torch.nn.functional import cross_entropy

    losses, counted, right, turns = 0.0, 0, 0, 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for at in range(0, len(held_out), 6):
            inputs = batch(held_out[at : at + 6], padding)
            labels = inputs.pop("labels")[:, 1:]
            wanted = labels[labels >= 0]
            logits = model.lm_head(model.model(**inputs).last_hidden_state[:, :-1][labels >= 0]).float()
            losses += float(cross_entropy(logits, wanted, reduction="sum"))
            counted += len(wanted)
            good = (logits.argmax(-1) == wanted).tolist()
            ends = (wanted == stop).tolist()
            whole = True
            for hit, end in zip(good, ends, strict=True):
                whole = whole and hit
                if end:
                    right, turns, whole = right + whole, turns + 1, True
    return losses / counted, right / turns


if __name__ == "__main__":
    sys.exit(main())
