"""Divergence: how far apart two models' next-token distributions are, where both gave log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import msgspec

from trimtab.evals.answer import Answer, TokenChoice


class Divergence(msgspec.Struct, frozen=True):
    """Over `n` pairs that have log-probabilities: `identical` of them said the same tokens; the others part at a median
    of `parting` tokens (None: none parts). `kl`: mean in nats over pairs of the mean over positions, None where no
    position had a distribution."""

    n: int
    identical: int
    parting: float | None
    kl: float | None


def of(pairs: Sequence[tuple[Answer, Answer]]) -> Divergence | None:
    """None where no pair has log-probabilities on both sides."""
    both = [(one.tokens, other.tokens) for one, other in pairs if one.tokens and other.tokens]
    if not both:
        return None
    shared = [prefix(one, other) for one, other in both]
    partings = [length for length, (one, other) in zip(shared, both, strict=True) if length < max(len(one), len(other))]
    means = [_mean(one, other, length) for length, (one, other) in zip(shared, both, strict=True)]
    known = [mean for mean in means if mean is not None]
    return Divergence(
        n=len(both),
        identical=len(both) - len(partings),
        parting=median(partings) if partings else None,
        kl=sum(known) / len(known) if known else None,
    )


def prefix(one: Sequence[TokenChoice], other: Sequence[TokenChoice]) -> int:
    """How many tokens both begin with."""
    length = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine.token != theirs.token:
            break
        length += 1
    return length


def _mean(one: Sequence[TokenChoice], other: Sequence[TokenChoice], shared: int) -> float | None:
    """Up to and with the token at which they part: until there both have seen the same text."""
    positions = list(zip(one, other, strict=False))[: shared + 1]
    values = [kl(mine.top, theirs.top) for mine, theirs in positions if mine.top and theirs.top]
    return sum(values) / len(values) if values else None


def kl(one: dict[str, float], other: dict[str, float]) -> float:
    """Σ p ln(p/q) over the tokens that both list, and over all else as one token: a lower bound of the divergence,
    because joining outcomes never adds to it. In nats; `one` and `other` map tokens to log-probabilities."""
    both = one.keys() & other.keys()
    p = [math.exp(one[token]) for token in both]
    q = [math.exp(other[token]) for token in both]
    p.append(max(0.0, 1 - sum(p)))
    q.append(max(0.0, 1 - sum(q)))
    # What an interface rounds to 0 is not impossible.
    floor = 1e-6
    terms = (a * math.log(a / max(b, floor)) for a, b in zip(p, q, strict=True) if a > 0)
    return max(0.0, sum(terms))
