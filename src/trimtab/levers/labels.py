"""Agents whose outputs are a closed set of labels: are they, how well a small head agrees, and when it must abstain.

A head is fitted on the fit split, its cut-off set on half of what is held out and judged on the other half. It learns
the old model's answers: agreement with them is no better than they are.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from trimtab.errors import FormatError, require
from trimtab.levers import softmax, splitting, tfidf
from trimtab.levers.examples import Example
from trimtab.levers.slots import Slot, slot
from trimtab.stats.clusters import design_effect
from trimtab.stats.intervals import Interval, clopper_pearson, wilson

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MOST_LABELS, LONGEST, FEWEST = 300, 120, 100  # labels; characters of one; outputs to say anything of
PER_LABEL = 5  # outputs for each label, on average, below which it is no set yet
UNSEEN = 0.05  # the chance of a new output, at most
RIDGE_VECTORS, RIDGE_TERMS = 0.1, 0.1
GRID = 20  # cut-offs tried
ENCODER, TERMS = "sentence encoder + linear head", "TF-IDF + logistic regression"


class LabelSet(msgspec.Struct, frozen=True, kw_only=True):
    """The distinct outputs, commonest first, of `n`. `unseen` estimates the chance that the next output is none of
    them: outputs seen once / n (I. J. Good (1953), "The population frequencies of species")."""

    labels: tuple[str, ...]
    n: int
    unseen: float


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """`right` of `n` held-out answers are the old model's own; [`low`, `high`] is Wilson's 95 % interval, with `n`
    divided by the design effect of the sessions. `commonest` is what always saying the commonest label scores."""

    n: int
    right: int
    share: float
    low: float
    high: float
    commonest: float


class Cutoff(msgspec.Struct, frozen=True, kw_only=True):
    """Answer where the likeliest label has at least `threshold`, else ask the old model; above 1 where it never may.

    Chosen so that the share of wrong answers among those given is at most `alpha` with `confidence` (see `cutoff`);
    `answered` of all were answered in the half that judges, `wrong` of these otherwise than by the old model; both
    with 95 % intervals.
    """

    alpha: float
    confidence: float
    threshold: float
    n: int
    answered: float
    answered_low: float
    answered_high: float
    wrong: float
    wrong_high: float


class Head(msgspec.Struct, frozen=True, eq=False):
    """A linear head over the vectors of `encoder` (its version): `weights` (dims + 1, labels), the last row the bias.
    What it reads of a text is what `slot` leaves. Needs numpy alone."""

    labels: tuple[str, ...]
    encoder: str
    slot: Slot
    weights: Array

    def chances(self, vectors: Array) -> Array:
        """(n, labels) of the vectors (n, dims) of texts that went through `slot`."""
        return softmax.probabilities(vectors @ self.weights[:-1] + self.weights[-1])

    def packed(self) -> bytes:
        """For `opened`: JSON and one array, no code."""
        import numpy as np

        file = io.BytesIO()
        words = msgspec.json.encode([self.labels, self.encoder, self.slot])
        np.savez(file, words=np.frombuffer(words, np.uint8), weights=self.weights)
        return file.getvalue()

    @classmethod
    def opened(cls, state: bytes) -> Head:
        """FormatError: not what `packed` gave."""
        import numpy as np

        try:
            with np.load(io.BytesIO(state), allow_pickle=False) as held:
                words, weights = held["words"].tobytes(), np.asarray(held["weights"], np.float32)
            labels, encoder, its = msgspec.json.decode(words, type=tuple[tuple[str, ...], str, Slot])
        except (ValueError, KeyError, OSError, EOFError, msgspec.MsgspecError) as error:
            raise FormatError(f"this is no label head ({error}): build it again") from error
        if weights.ndim != 2 or weights.shape[1] != len(labels) or not np.isfinite(weights).all():
            raise FormatError("the weights of a label head do not fit its labels: build it again")
        return cls(labels, encoder, its, weights)


class Judged(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One way to replace the model: `head` where it can be served (the encoder's)."""

    method: str
    fitted: int
    agreement: Agreement
    cutoff: Cutoff
    cpu_s: float
    ms_per_text: float
    head: Head | None = None


class Parts(NamedTuple):
    """Texts and the places of their labels: to fit on, to set the cut-off on, to judge with."""

    texts: tuple[list[str], list[str], list[str]]
    labels: tuple[Array, Array, Array]
    clusters: tuple[list[str], list[str], list[str]]
    slot: Slot


def label(example: Example) -> str:
    """The output as a label: its words without the space around them."""
    return example.output.strip()


def closed_set(outputs: Iterable[str]) -> LabelSet | None:
    """The labels, where outputs are short, few and repeat themselves so that new ones are rare; else None."""
    counts = Counter(outputs)
    n, once = counts.total(), sum(times == 1 for times in counts.values())
    common = [name for name, times in counts.most_common(MOST_LABELS + 1) if times > 1]
    if n < FEWEST or not 2 <= len(common) <= MOST_LABELS or n < PER_LABEL * len(counts):
        return None
    if once / n > UNSEEN or max(map(len, common)) > LONGEST:
        return None
    return LabelSet(labels=tuple(common), n=n, unseen=once / n)


def parted(examples: Sequence[Example], labels: LabelSet) -> Parts:
    """Split by session. Outputs that are none of `labels` are left out of the fit, and count as -1, wrong, elsewhere.
    FormatError where a part is too small to say anything."""
    import numpy as np

    at = {name: place for place, name in enumerate(labels.labels)}
    texts: tuple[list[str], ...] = ([], [], [])
    places: tuple[list[int], ...] = ([], [], [])
    clusters: tuple[list[str], ...] = ([], [], [])
    for each in examples:
        side = 0 if splitting.fits(each.cluster) else 1 if splitting.calibrates(each.cluster) else 2
        place = at.get(label(each), -1)
        if place >= 0 or side:
            texts[side].append(each.asked)
            places[side].append(place)
            clusters[side].append(each.cluster)
    if min(map(len, texts)) < 20:
        sizes = ", ".join(str(len(part)) for part in texts)
        raise FormatError(f"too few calls to fit, calibrate and judge on ({sizes}): record at least {FEWEST} of them")
    its = slot(texts[0])
    shown = [[its.of(text) for text in part] for part in texts]
    its_labels = [np.array(part, np.int64) for part in places]
    return Parts(
        (shown[0], shown[1], shown[2]),
        (its_labels[0], its_labels[1], its_labels[2]),
        (clusters[0], clusters[1], clusters[2]),
        its,
    )


def by_terms(parts: Parts, labels: LabelSet, alpha: float = 0.05) -> Judged:
    """TF-IDF + logistic regression: the plainest rival. MissingExtra without numpy."""
    require("gate", "numpy")
    begun = time.process_time()
    weights = tfidf.learn(parts.texts[0])
    fitted = softmax.fit(weights.rows(parts.texts[0]), parts.labels[0], len(labels.labels), RIDGE_TERMS)
    first = time.process_time()
    chances = [softmax.probabilities(weights.rows(part).dot(fitted[:-1]) + fitted[-1]) for part in parts.texts[1:]]
    each = (time.process_time() - first) * 1e3 / sum(map(len, parts.texts[1:]))
    agreement, chosen = _judged(parts, chances, alpha)
    return Judged(
        method=TERMS,
        fitted=len(parts.texts[0]),
        agreement=agreement,
        cutoff=chosen,
        cpu_s=time.process_time() - begun,
        ms_per_text=each,
    )


def by_encoder(
    parts: Parts, labels: LabelSet, embed: Callable[[Sequence[str]], Array], version: str = "", alpha: float = 0.05
) -> Judged:
    """Sentence vectors by `embed` (texts → (n, dims) at unit length) + logistic regression."""
    begun = time.process_time()
    vectors = [embed(part) for part in parts.texts]
    each = (time.process_time() - begun) * 1e3 / sum(map(len, parts.texts))
    weights = softmax.fit(softmax.Dense(vectors[0]), parts.labels[0], len(labels.labels), RIDGE_VECTORS)
    head = Head(labels.labels, version, parts.slot, weights)
    agreement, chosen = _judged(parts, [head.chances(part) for part in vectors[1:]], alpha)
    return Judged(
        method=ENCODER,
        fitted=len(parts.texts[0]),
        agreement=agreement,
        cutoff=chosen,
        cpu_s=time.process_time() - begun,
        ms_per_text=each,
        head=head,
    )


def _judged(parts: Parts, chances: Sequence[Array], alpha: float) -> tuple[Agreement, Cutoff]:
    import numpy as np

    best = [part.argmax(1) for part in chances]
    right = [found == true for found, true in zip(best, parts.labels[1:], strict=True)]
    sure = [part.max(1) for part in chances]
    agreed = agreement(np.concatenate(right), [*parts.clusters[1], *parts.clusters[2]], parts)
    threshold = cutoff(sure[0], right[0], alpha)
    given = sure[1] >= threshold
    n, answered, wrong = len(given), int(given.sum()), int((~right[1][given]).sum())
    share = wilson(answered, n)
    chosen = Cutoff(
        alpha=alpha,
        confidence=CONFIDENCE,
        threshold=threshold,
        n=n,
        answered=answered / n,
        answered_low=share.low,
        answered_high=share.high,
        wrong=wrong / answered if answered else 0.0,
        wrong_high=clopper_pearson(wrong, answered).high,
    )
    return agreed, chosen


def agreement(right: Array, clusters: Sequence[str], parts: Parts) -> Agreement:
    import numpy as np

    held = np.concatenate(parts.labels[1:])
    counts = np.bincount(held[held >= 0], minlength=1)
    n, good = len(right), int(right.sum())
    interval = _clustered(right, clusters)
    return Agreement(
        n=n,
        right=good,
        share=good / n,
        low=interval.low,
        high=interval.high,
        commonest=float(counts.max() / n),
    )


def _clustered(right: Array, clusters: Sequence[str]) -> Interval:
    """Wilson's interval with the counts divided by the design effect, which is not let below 1."""
    by: dict[str, list[float]] = {}
    for value, name in zip(right.tolist(), clusters, strict=True):
        by.setdefault(name, []).append(float(value))
    n, good = len(right), int(right.sum())
    effect = max(1.0, design_effect(list(by.values()))) if 1 < len(by) < n else 1.0
    if effect == 1.0:
        return wilson(good, n)
    fewer = max(1, round(n / effect))
    found = wilson(round(fewer * good / n), fewer)
    return Interval(min(found.low, good / n), max(found.high, good / n))


CONFIDENCE = 0.9


def cutoff(sure: Array, right: Array, alpha: float, confidence: float = CONFIDENCE) -> float:
    """The lowest threshold on `sure` (n,) above which wrong answers are at most `alpha` of those given; inf if none.

    Fixed-sequence testing, from the strictest of 20 thresholds down, each by the exact binomial bound at 1 −
    `confidence`, until one fails; so the risk of the chosen one exceeds `alpha` with probability 1 − `confidence` at
    most. A. N. Angelopoulos et al. (2021), "Learn then test". The strictest leaves enough answers that two wrong ones
    would pass.
    """
    import numpy as np

    order = np.argsort(-sure, kind="stable")
    wrong = np.cumsum(~right[order])
    n = len(order)
    least = next((k for k in range(3, n + 1) if _most(2, k, confidence) <= alpha), None)
    if least is None:
        return float("inf")
    chosen = float("inf")
    for count in np.unique(np.linspace(least, n, GRID).round().astype(int)).tolist():
        threshold = float(sure[order[count - 1]])
        given = int((sure >= threshold).sum())
        if _most(int(wrong[given - 1]), given, confidence) > alpha:
            break
        chosen = threshold
    return chosen


def _most(wrong: int, n: int, confidence: float) -> float:
    """The one-sided upper bound of Clopper and Pearson."""
    return clopper_pearson(wrong, n, 2 * confidence - 1).high
