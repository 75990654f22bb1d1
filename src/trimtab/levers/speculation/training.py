"""Making a drafter from recorded calls: what it learns from, what it is measured on, and a run that can be resumed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress

from trimtab.engines.prepared import COPIED, locate
from trimtab.gateway.serving import share_of
from trimtab.levers.speculation import acceptance, conversations
from trimtab.levers.speculation.acceptance import Runs
from trimtab.levers.speculation.conversations import Said, Spoken
from trimtab.levers.speculation.distill import Distilled
from trimtab.levers.speculation.options import Options

LEARNT = 0.85


class Trained(NamedTuple):
    """`runs` are those of the answers it was measured on."""

    parameters: int
    runs: list[Runs]


def parted(calls: Sequence[Spoken]) -> tuple[list[Spoken], list[Spoken]]:
    """(to learn from, to measure on), by session; all for both where there is too little to part."""
    learnt = [each for each in calls if share_of(f"drafter {each.cluster}") < LEARNT]
    held = [each for each in calls if share_of(f"drafter {each.cluster}") >= LEARNT]
    return (learnt, held) if learnt and held else (list(calls), list(calls))


def drafter(its: Options, learnt: Sequence[Spoken], said: Sequence[Said], work: Path, out: Path) -> Trained:
    """Train on `learnt`, measure on `said`, write the checkpoint into `out`. A stopped run goes on from `work`.

    Errors: ModelError for the target, MissingExtra, FormatError where nothing can be learnt from.
    """
    target = locate(its.target)
    by = conversations.Reader(target)
    texts = [text for each in conversations.whole(learnt) if (text := by.text(each)) is not None]
    distilled = Distilled(target, its)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("drafter", total=None)
        distilled.train(
            texts,
            lambda step, steps, loss: progress.update(
                bar, completed=step, total=steps, description=f"drafter, loss {loss:.3f}"
            ),
            work / "speculation.state",
        )
    distilled.drafter.eval()
    runs = [acceptance.runs_of(distilled.agreements(each.prompt, each.answer)) for each in said]
    distilled.save(out)
    for name in COPIED:
        if name != "config.json" and (target / name).exists():
            shutil.copyfile(target / name, out / name)
    return Trained(distilled.parameters, runs)
