"""The models that are measured: the shipped pair, the same grown to about 500M and 70M, and a drafter for each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from trimtab.bench import traffic
from trimtab.engines import build_cache
from trimtab.engines.enlarge import SIZES, enlarge
from trimtab.engines.prepared import locate
from trimtab.levers.speculation import options, training

HOME = Path(".trimtab/attribution")
PAIRS = ("shipped", "enlarged")
GROWN = {"teacher": "500m", "student": "70m"}
LEARNT, GLANCED = (1400, 12), (700, 5)  # sessions, epochs: a quarter of an hour; for a quick look two or three minutes
# Nearly all that this drafter says stands, so it may say more at a time than one of which nothing is known.
LENGTHS = "1:20,4:8,8:6,24:0"


class Models(msgspec.Struct, frozen=True):
    """Folders by (pair, model), and the server's options that name each model's drafter."""

    folders: dict[str, Path]
    drafters: dict[str, list[str]]


def models(pairs: tuple[str, ...], home: Path, say: Callable[[str], None], quick: bool = False) -> Models:
    """Build what is missing, once. The student's drafter is trained on recorded sessions, in a `quick` look on fewer
    unless the better one is there; the teacher's is the student.

    Errors: ModelError, DiskFull, MissingExtra where torch is needed for training.
    """
    small = {model: locate(f"dealer-{model}") for model in GROWN}
    folders = {f"shipped {model}": folder for model, folder in small.items()}
    for model, size in GROWN.items():
        if "enlarged" in pairs:
            say(f"growing dealer-{model} to {size}")
            target = home / f"dealer-{model}-{size}-{_digest(small[model])[:12]}"
            folders[f"enlarged {model}"] = enlarge(small[model], target, SIZES[size])
    # Grown models compute the same function, so one drafter serves both.
    learnt = ["--draft", str(trained(small["student"], home, say, quick)), "--draft-lengths", LENGTHS]
    return Models(folders, {"teacher": ["--draft", str(small["student"])], "student": learnt})


def trained(target: Path, home: Path, say: Callable[[str], None], quick: bool = False) -> Path:
    """A drafter for `target`, distilled on the train split's sessions, unless it is there."""

    def its(learnt: tuple[int, int]) -> Path:
        return home / f"drafter-{_digest(target)[:12]}-{learnt[0]}-{learnt[1]}"

    learnt = GLANCED if quick and not build_cache.is_whole(its(LEARNT)) else LEARNT
    folder, (sessions, epochs) = its(learnt), learnt
    if build_cache.is_whole(folder):
        return folder
    minutes = "two or three minutes" if learnt is GLANCED else "a quarter of an hour"
    say(f"distilling a drafter ({minutes}; a stopped run goes on)")
    asked = options.read({"target": str(target), "epochs": epochs, "threads": 0})
    calls = traffic.spoken(traffic.record("train", sessions, 5))
    home.mkdir(parents=True, exist_ok=True)

    def fill(fresh: Path) -> None:
        training.drafter(asked, calls, [], home, fresh)

    return build_cache.keep(folder, 16 << 20, fill)


def _digest(folder: Path) -> str:
    with (folder / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
