"""The plain trainer of one stage: a loop, its losses, and a state from which it goes on after an interruption.

Losses: cross-entropy (cpt, sft), KL to a teacher's logits on recorded answers (distil) or on the student's own
(onpolicy; R. Agarwal et al. 2024), and preferences (dpo; R. Rafailov et al. 2023) with a term that keeps the chosen.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.arena.tuning.distil import kl_loss, logits_of
from trimtab.arena.tuning.pack import Part, Row, batch, filled
from trimtab.arena.tuning.train import loss_of, optimisers
from trimtab.levers.small_model.heldout import padded
from trimtab.levers.small_model.tokens import Line, Preference, shared_head

if TYPE_CHECKING:
    import torch

PAIRS, PROMPTS = 8, 8  # in a step
LONGEST_OWN = 96  # tokens of a student's own answer
SAVED_EVERY, WARMUP, FALLS = 50, 20, 0.4
KEEP = 0.2  # weight of the chosen answer's own cross-entropy beside the preference


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One stage: `anew` for a model that has not learned anything yet."""

    name: str
    steps: int
    rate: float
    tokens: int
    beta: float = 0.1
    seed: int = 0
    anew: bool = False


class Lessons(msgspec.Struct, frozen=True):
    """What may be learned from."""

    lines: Sequence[Line]
    preferences: Sequence[Preference] = ()


class Learner:
    """Trains `model` in place. `model` is one of transformers; where adapters are in it, only they learn."""

    def __init__(self, model: Any, task: Task, lessons: Lessons, padding: int, teacher: Any = None) -> None:
        import torch

        torch.manual_seed(task.seed)
        self.model, self.task, self.lessons, self.padding, self.teacher = model, task, lessons, padding, teacher
        self.optimisers = _optimisers(model, task)
        self.step, self.log = 0, list[dict[str, float]]()
        self._references: list[tuple[float, float]] = []
        self._loss = self._chosen_loss()

    def run(self, state: Path, note: Callable[[int, float], None]) -> list[dict[str, float]]:
        """To the end, from `state` where it was begun; `note(step, loss)` after each step. The log."""
        self._resume(state)
        rows = self._batches()
        for _ in range(self.step):
            next(rows)
        begun = time.process_time()
        self.model.train()
        while self.step < self.task.steps:
            loss = self._advance(next(rows))
            self.step += 1
            note(self.step, loss)
            if self.step % 10 == 0 or self.step == self.task.steps:
                self.log.append({"step": self.step, "loss": loss, "cpu_s": time.process_time() - begun})
            if self.step % SAVED_EVERY == 0 and self.step < self.task.steps:
                self._save(state)
        state.unlink(missing_ok=True)
        return self.log

    def _advance(self, chosen: Any) -> float:
        import torch

        left = (self.task.steps - self.step) / (self.task.steps * FALLS)
        share = min(1.0, (self.step + 1) / min(WARMUP, self.task.steps), left)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.task.rate * share
        loss = self._loss(chosen)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _chosen_loss(self) -> Callable[[Any], torch.Tensor]:
        if self.task.name == "dpo":
            self._references = [_reference(self.model, each, self.padding) for each in self.lessons.preferences]
            return self._preference
        if self.task.name == "onpolicy":
            return self._own
        teacher = self.teacher if self.task.name == "distil" else None
        return lambda rows: loss_of(self.model, batch(rows, self.padding), teacher)

    def _preference(self, chosen: list[int]) -> torch.Tensor:
        import torch
        from torch.nn.functional import logsigmoid

        some = [self.lessons.preferences[at] for at in chosen]
        good, bad = answer_logs(self.model, some, self.padding)
        held = torch.tensor([self._references[at] for at in chosen])
        margin = (good - held[:, 0]) - (bad - held[:, 1])
        lengths = torch.tensor([float(len(each.chosen)) for each in some])
        loss: torch.Tensor = (-logsigmoid(self.task.beta * margin) - KEEP * good / lengths).mean()
        return loss

    def _own(self, chosen: list[tuple[int, int]]) -> torch.Tensor:
        """KL to the teacher on what the student says itself after recorded beginnings."""
        import torch

        prompts = [self.lessons.lines[line].ids[:start] for line, start in chosen]
        said = [_sampled(self.model, prompt, self.padding) for prompt in prompts]
        ids = [[*prompt, *own] for prompt, own in zip(prompts, said, strict=True)]
        labels = [[-100] * len(prompt) + own for prompt, own in zip(prompts, said, strict=True)]
        inputs, wanted = padded(ids, labels, self.padding)
        counted = wanted[:, 1:] >= 0
        with torch.autocast("cpu", torch.bfloat16):
            logits = logits_of(self.model, inputs, counted)
        with torch.no_grad():
            teachers = logits_of(self.teacher, inputs, counted)
        return kl_loss(logits, teachers, teachers.argmax(-1))

    def _batches(self) -> Iterator[Any]:
        """The same order for the same seed: a resumed run goes on where it was."""
        if self.task.name == "dpo":
            return _drawn(range(len(self.lessons.preferences)), PAIRS, self.task.seed)
        if self.task.name == "onpolicy":
            places = [(at, start) for at, line in enumerate(self.lessons.lines) for start, _, _ in line.turns]
            return _drawn(places, PROMPTS, self.task.seed)
        return packed(self.lessons.lines, self.task.tokens, self.task.seed, everything=self.task.name == "cpt")

    def _save(self, state: Path) -> None:
        import torch

        held = {
            "step": self.step, "log": self.log, "references": self._references, "random": torch.get_rng_state(),
            "model": self.model.state_dict(), "optimisers": [each.state_dict() for each in self.optimisers],
        }  # fmt: skip
        torch.save(held, state.with_suffix(".tmp"))
        state.with_suffix(".tmp").replace(state)

    def _resume(self, state: Path) -> None:
        import torch

        if not state.exists():
            return
        held = torch.load(state, weights_only=True)
        self.model.load_state_dict(held["model"])
        for optimiser, values in zip(self.optimisers, held["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        self.step, self.log = held["step"], held["log"]
        self._references = [tuple(each) for each in held["references"]]
        torch.set_rng_state(held["random"])


def _optimisers(model: Any, task: Task) -> list[torch.optim.Optimizer]:
    """Muon where all is begun anew, AdamW where something is known that small steps should keep."""
    import torch

    if task.anew and task.name in ("cpt", "sft", "distil"):
        return optimisers(model, task.rate)
    learning = [p for p in model.parameters() if p.requires_grad]
    return [torch.optim.AdamW(learning, lr=task.rate, betas=(0.9, 0.95), weight_decay=0.0)]


def packed(lines: Sequence[Line], tokens: int, seed: int, *, everything: bool = False) -> Iterator[list[Row]]:
    """Batches of about `tokens` tokens, epoch after epoch, each shuffled anew; an agent's constant beginning is
    computed once a row. `everything`: the loss counts all that follows it."""
    heads = shared_head(lines)
    width = max(768, max(len(line.ids) for line in lines))
    chance = random.Random(seed)
    order, open_, total = list(lines), list[Row](), 0
    while True:
        chance.shuffle(order)
        parts = (
            Part(line.agent, heads[line.agent], line.ids, line.ids if everything else line.labels) for line in order
        )
        for row in filled(parts, width):
            open_.append(row)
            total += len(row.ids)
            if total >= tokens:
                yield open_
                open_, total = [], 0


def _drawn(places: Sequence[Any], count: int, seed: int) -> Iterator[list[Any]]:
    chance = random.Random(seed)
    pool: list[Any] = []
    while True:
        while len(pool) < count:
            pool += chance.sample(list(places), len(places))
        yield [pool.pop() for _ in range(count)]


def answer_logs(model: Any, some: Sequence[Preference], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """log P of each chosen and of each rejected answer, summed over its tokens, [n] and [n]."""
    import torch

    answers = [each.chosen for each in some] + [each.rejected for each in some]
    ids = [[*each.prompt, *answer] for each, answer in zip([*some, *some], answers, strict=True)]
    labels = [[-100] * len(each.prompt) + answer for each, answer in zip([*some, *some], answers, strict=True)]
    inputs, wanted = padded(ids, labels, padding)
    wanted = wanted[:, 1:]
    counted = wanted >= 0
    with torch.autocast("cpu", torch.bfloat16):
        logits = logits_of(model, inputs, counted)
    told = torch.log_softmax(logits.float(), -1).gather(-1, wanted[counted][:, None])[:, 0]
    sums = torch.zeros(len(ids)).index_add(0, counted.nonzero()[:, 0], told)
    return sums[: len(some)], sums[len(some) :]


def _reference(model: Any, each: Preference, padding: int) -> tuple[float, float]:
    """What the model thinks of both answers before it learns."""
    import torch

    with torch.no_grad():
        good, bad = answer_logs(model, [each], padding)
    return float(good[0]), float(bad[0])


def _sampled(model: Any, prompt: list[int], padding: int) -> list[int]:
    """One answer of the student's own, at temperature 1."""
    import torch

    was = model.training
    model.eval()
    with torch.no_grad():
        told = model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=True,
            temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=LONGEST_OWN, pad_token_id=padding,
        )  # fmt: skip
    model.train(was)
    own: list[int] = told[0, len(prompt) :].tolist()
    return own
