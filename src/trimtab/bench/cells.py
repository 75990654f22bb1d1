"""The cells of the attribution: every setting of model, precision, drafter, prefix reuse and concurrency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

PRECISIONS = ("bf16", "int8", "int4")
DRAFTERS = ("none", "lookup", "drafter")
REUSE = ("on", "off")
CONCURRENCY = (1, 4, 16)
FACTORS = {
    "model": ("teacher", "student"),
    "precision": PRECISIONS,
    "draft": DRAFTERS,
    "reuse": REUSE,
}
# What a gain takes, beside each in the table.
NEEDS = {
    "model: student / teacher": "a trained student that passed the gate; retrained when the work changes",
    "precision: int8 / bf16": "a CPU with VNNI (or any bound by memory); calibration and a gate on the served artefact",
    "precision: int4 / bf16": "few answers at once (bound by memory); a gate on the served artefact",
    "draft: lookup / none": "answers that repeat their prompt, 1 or 2 at once",
    "draft: drafter / none": "fewer than 24 answers at once; a drafter for this model, retrained when prompts change",
    "reuse: off / on": "(the price of doing without) prompts that begin alike, and memory for the cache",
    "concurrency: 4 / 1": "4 requests waiting at once",
    "concurrency: 16 / 1": "16 requests waiting at once; each waits longer",
}


class Setup(msgspec.Struct, frozen=True, order=True):
    """What one server is started with; `pair` is "shipped" or "enlarged"."""

    pair: str
    model: str
    precision: str = "bf16"
    draft: str = "none"
    reuse: str = "on"

    @property
    def undrafted(self) -> Setup:
        """The same without a drafter."""
        return msgspec.structs.replace(self, draft="none")

    @property
    def name(self) -> str:
        words = [self.model, self.precision]
        words += [self.draft] if self.draft != "none" else []
        words += ["no reuse"] if self.reuse == "off" else []
        return " + ".join(words)


class Setting(NamedTuple):
    """What one measurement is of; `loop` is closed, open, judged or again."""

    setup: Setup
    block: int
    concurrency: int
    loop: str


class Cell(msgspec.Struct, frozen=True):
    """One measurement: `block` of `setup` at `concurrency`. Seconds are of the client's clock; `cpu_s` of the server's
    processes. `sessions` maps each session to whether every move of it was right."""

    setup: Setup
    block: int
    concurrency: int
    requests: int
    tokens: int
    wall_s: float
    cpu_s: float
    ttft_s: list[float]
    latency_s: list[float]
    peak_mb: float
    sessions: dict[str, bool]
    moves_right: int
    drafted: int = 0
    taken: int = 0
    loop: str = "closed"

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.wall_s

    @property
    def levels(self) -> dict[str, str]:
        return {key: getattr(self.setup, key) for key in FACTORS} | {"concurrency": str(self.concurrency)}

    @property
    def key(self) -> Setting:
        return Setting(self.setup, self.block, self.concurrency, self.loop)


def full(pair: str) -> list[Setup]:
    """Every setup: 2 models x 3 precisions x 3 drafters x reuse on and off."""
    return list(_all(pair))


def _all(pair: str) -> Iterator[Setup]:
    for model in FACTORS["model"]:
        for precision in PRECISIONS:
            for draft in DRAFTERS:
                for reuse in REUSE:
                    yield Setup(pair, model, precision, draft, reuse)


def barred(pair: str) -> list[Setup]:
    """Those that the bars are about: both models plain, and the student optimised in each way."""
    student = [Setup(pair, "student", precision, draft) for precision in PRECISIONS for draft in ("none", "drafter")]
    return [Setup(pair, "teacher"), *student]


def fraction(pair: str) -> list[Setup]:
    """For a quick look: the barred, and one each of look-up and no reuse."""
    return [*barred(pair), Setup(pair, "student", "int8", "lookup"), Setup(pair, "student", "bf16", "none", "off")]
