"""A model through its stages, each measured before the next, each kept so that a broken run goes on where it was."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import ConfigError, DiskFull, ModelError, require
from trimtab.levers.small_model import beginning, heldout, hub
from trimtab.levers.small_model.learn import Learner, Lessons, Task
from trimtab.levers.small_model.options import NEEDS_TEACHER, Options
from trimtab.levers.small_model.prepare import Prepared
from trimtab.levers.small_model.tokens import Codec, Line, check, lines
from trimtab.store import schema

RECORD = "stages.json"
ONE_THREAD = 30_000_000  # parameters


class Measured(msgspec.Struct, frozen=True):
    """A stage's end: its log, and how the model does on what was held out."""

    stage: str
    steps: int
    log: list[dict[str, float]]
    held_out: heldout.HeldOut


def run(
    data: Prepared, its: Options, store: Path, say: Callable[[str], None] | None = None
) -> tuple[Path, list[Measured]]:
    """(checkpoint folder, the stages): the folder is the caller's to move. ModelError, ConfigError, DiskFull."""
    require("tune", "torch", "transformers", "tokenizers")
    import torch

    work = store / "small_model" / _name(data, its)
    try:
        work.mkdir(parents=True, exist_ok=True)
        run = _Run(data, its, work, say or _to_stderr)
        # Of so small matrices a second thread takes more than it gives.
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if run.parameters < ONE_THREAD else threads)
        try:
            return run.finish()
        finally:
            torch.set_num_threads(threads)
    except OSError as error:
        raise schema.refusal(error, work) from error
    except RuntimeError as error:
        # torch's own word for a disk that is full while it writes a file.
        if "file" in str(error) and "write" in str(error).lower():
            raise DiskFull(f"no room is left in {work}: free some; the same command then goes on") from error
        raise


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _name(data: Prepared, its: Options) -> str:
    """The same data under the same options is the same run."""
    digest = hashlib.sha256(its.digest.encode())
    for each in (*data.train, *data.validation):
        digest.update(each.digest.encode())
    return digest.hexdigest()[:24]


class _Run:
    def __init__(self, data: Prepared, its: Options, work: Path, say: Callable[[str], None]) -> None:
        import torch

        self.its, self.work, self.say = its, work, say
        torch.manual_seed(its.seed)
        self.done: list[Measured] = self._record()
        held = work / self.done[-1].stage if self.done else None
        self.model, tokenizer = beginning.of(its, data.train, held)
        self.codec = Codec(tokenizer)
        self.padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.codec.stop
        self.lines = lines(data.train, self.codec, its.max_length)
        self.held_out = lines(data.validation, self.codec, its.max_length)
        self.preferences = [self.codec.preference(pair) for pair in data.pairs]
        self.teacher = beginning.teacher_of(its, self.model) if set(its.stages) & set(NEEDS_TEACHER) else None
        check(self.lines[:1], self.codec)
        self.parameters = sum(p.numel() for p in self.model.parameters())
        _room(work, self.parameters * 4)

    def finish(self) -> tuple[Path, list[Measured]]:
        stages = _named(self.its.stages)
        for name, stage in stages[len(self.done) :]:
            log = self._stage(name, stage)
            found = heldout.measure(self.model, self.held_out, self.padding)
            self.say(f"{name}: {found.line()}")
            self._keep(Measured(name, self.its.steps_of(stage), log, found))
        return self.work / stages[-1][0], self.done

    def _stage(self, name: str, stage: str) -> list[dict[str, float]]:
        its = self.its
        task = Task(
            name=stage, steps=its.steps_of(stage), rate=its.rate_of(stage), tokens=its.tokens, beta=its.beta,
            seed=its.seed, anew=not its.base,
        )  # fmt: skip
        if stage == "dpo" and not self.preferences:
            raise ConfigError("stage dpo has no pairs: name the tools that change something in option acts")
        model = hub.adapted(self.model, its.lora, its.seed) if its.lora else self.model
        if its.trainer == "trl" and stage in hub.STAGES:
            lessons = (self._lines_of(stage), self.preferences)
            log = hub.run(model, self.codec, task, lessons, self.work / f"{name}.trl", self.teacher)
        else:
            inner = model.get_base_model() if its.lora else model
            lessons_ = Lessons(self._lines_of(stage), self.preferences)
            learner = Learner(inner, task, lessons_, self.padding, self.teacher)
            log = learner.run(self.work / f"{name}.pt", self._noter(name, task.steps))
        if its.lora:
            self.model = model.merge_and_unload()
        return log

    def _lines_of(self, stage: str) -> Sequence[Line]:
        """Continual pretraining reads the corpus too, each file with the file's name before it as its context."""
        if stage != "cpt" or not self.its.corpus:
            return self.lines
        return [*self.lines, *beginning.corpus(Path(self.its.corpus), self.codec, self.its.max_length)]

    def _noter(self, name: str, steps: int) -> Callable[[int, float], None]:
        every = max(1, steps // 10)

        def note(step: int, loss: float) -> None:
            if step % every == 0 or step == steps:
                self.say(f"{name} {step}/{steps}  loss {loss:.4f}")

        return note

    def _keep(self, found: Measured) -> None:
        """The stage's checkpoint, then the record: what the record names is whole."""
        folder = self.work / found.stage
        self.model.save_pretrained(folder)
        self.codec.tokenizer.save_pretrained(folder)
        self.done.append(found)
        (self.work / RECORD).write_bytes(msgspec.json.encode(self.done))
        shutil.rmtree(self.work / f"{found.stage}.trl", ignore_errors=True)

    def _record(self) -> list[Measured]:
        if not (self.work / RECORD).exists():
            return []
        try:
            return msgspec.json.decode((self.work / RECORD).read_bytes(), type=list[Measured])
        except msgspec.MsgspecError as error:
            raise ModelError(f"{self.work / RECORD} cannot be read: delete {self.work} to begin anew") from error


def _named(stages: Sequence[str]) -> list[tuple[str, str]]:
    """("1-sft", "sft"), and so on."""
    return [(f"{place}-{stage}", stage) for place, stage in enumerate(stages, 1)]


def _room(work: Path, model_bytes: int) -> None:
    """Weights, optimiser states and two checkpoints; better told before hours of training than after."""
    free, wanted = shutil.disk_usage(work).free, 6 * model_bytes
    if free < wanted:
        raise DiskFull(f"{work} has {free / 1e9:.1f} GB left, training needs {wanted / 1e9:.1f} GB: free some")


def publish(checkpoint: Path, place: Path) -> None:
    """The last stage's checkpoint in bf16, in the standard layout."""
    import torch

    model, tokenizer = beginning.loaded(checkpoint)
    model.to(torch.bfloat16).save_pretrained(place)
    tokenizer.save_pretrained(place)


def told(each: Measured) -> dict[str, Any]:
    """For the manifest; without times, so that the same build has the same bytes."""
    exact = {name: [held.right, held.n] for name, held in each.held_out.exact.items()}
    losses = [round(entry["loss"], 6) for entry in each.log]
    return {
        "stage": each.stage,
        "steps": each.steps,
        "loss": losses[-1] if losses else None,
        "curve": losses,
        "held_out_loss": round(each.held_out.loss, 6),
        "exact": exact,
    }


def versions(trainer: str) -> dict[str, str]:
    names = ("torch", "transformers", "tokenizers", *(("trl", "peft", "datasets") if trainer == "trl" else ()))
    return {name: importlib.metadata.version(name) for name in names}
