"""The first estimate of every lever for every agent: seconds, CPU only, no paid call, on bounded samples."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trimtab.errors import TrimtabError
from trimtab.levers import encoder
from trimtab.money import PriceTable
from trimtab.plan import replacing, trimming
from trimtab.plan.case import Case, case
from trimtab.plan.replacing import Eye
from trimtab.plan.worth import Agent, Budget, Use, Weighed, Word, Worth
from trimtab.trace import Record

if TYPE_CHECKING:
    import numpy as np

AT_ONCE = 512  # texts; between them the clock is looked at
DECIDING_MS = 0.6  # of the cache's decision on one call, beside its vector
LEAST_TEXTS = 200  # below which the encoder tells nothing
_ORDER = {Word.WORTH: 0, Word.TRY: 1, Word.NO: 2, Word.SKIPPED: 3}


def weigh(
    sample: Mapping[Agent, Sequence[Record]],
    prices: PriceTable,
    uses: Mapping[Agent, Use] | None = None,
    budget: Budget | None = None,
    progress: Callable[[Worth], None] | None = None,
) -> Weighed:
    """Of `sample`, calls by (workflow, agent); `uses` says what all of an agent's calls came to, where these are only
    some. Dearest agent first, and of each the best lever first; `progress` is told each as it is found."""
    budget, begun = budget or Budget(), time.process_time()
    found = [case(agent, records, (uses or {}).get(agent), prices) for agent, records in sample.items() if records]
    found.sort(key=lambda its: (-its.use.nanodollars, -its.use.calls, its.agent))
    reader = _Reader(budget)
    worths: list[Worth] = []
    left = sum(its.use.nanodollars for its in found) or 1
    for its in found:
        own = []
        for worth in _of(its, reader.eye(its, its.use.nanodollars / max(1, left)), budget):
            own.append(worth)
            if progress is not None:
                progress(worth)
        left -= its.use.nanodollars
        worths += sorted(own, key=lambda worth: (_ORDER[worth.word], -worth.saving, -worth.seconds))
    return Weighed(worths=tuple(worths), cpu_s=time.process_time() - begun, notes=tuple(reader.notes))


def _of(its: Case, eye: Eye | None, budget: Budget) -> list[Worth]:
    if importlib.util.find_spec("numpy") is None:
        why = "numpy is not installed: pip install 'trimtab[cache]'"
        first = [replacing.skipped(its, name, why) for name in ("cache", "label head")]
    else:
        first = [replacing.cache(its, eye, budget), replacing.label_head(its, eye, budget)]
    return [*first, replacing.smaller_model(its), replacing.tuned_model(its), *trimming.every(its)]


class _Reader:
    """The encoder within its budget: each text is read once, whoever asks."""

    def __init__(self, budget: Budget) -> None:
        self.notes: list[str] = []
        self._budget = budget
        self._left = budget.cpu_s
        self._held: dict[str, np.ndarray[Any, Any]] = {}
        self._encoder: encoder.Encoder | None = None
        try:
            self._encoder = encoder.load()
        except TrimtabError as error:
            self.notes.append(f"no sentence encoder, so meanings are not compared: {error}")

    def eye(self, its: Case, share: float) -> Eye | None:
        """For this agent, which may take `share` of the time that is left."""
        if self._encoder is None or not its.examples:
            return None
        allowed = max(0.0, self._left) * min(1.0, max(share, 0.1))
        wanted = [each.asked for each in its.examples[: self._budget.calls]]
        begun, read = time.process_time(), 0
        while read < len(wanted) and time.process_time() - begun + DECIDING_MS / 1e3 * read < allowed:
            self.embed(wanted[read : read + AT_ONCE])
            read = min(len(wanted), read + AT_ONCE)
        took = time.process_time() - begun
        self._left -= took + DECIDING_MS / 1e3 * read
        if read < len(wanted):
            self.notes.append(
                f"{_name(its)}: the encoder read {read:,} of {len(its.examples):,} calls in {took:.1f} CPU s"
            )
        return Eye(self.embed, self._encoder.version, read) if read >= min(LEAST_TEXTS, len(wanted)) else None

    def embed(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        import numpy as np

        assert self._encoder is not None
        new = list(dict.fromkeys(text for text in texts if text not in self._held))
        if new:
            self._held.update(zip(new, self._encoder.embed(new), strict=True))
        return np.stack([self._held[text] for text in texts])


def _name(its: Case) -> str:
    return " / ".join(part for part in its.agent if part) or "(unnamed)"
