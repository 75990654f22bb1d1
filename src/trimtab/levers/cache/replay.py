"""A stream of questions replayed through the policy that serves: what it would have served, and how much of it wrong.

A label exists only where a request went upstream. It knows no encoder: the vectors come with the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from trimtab.levers.cache.policy import Candidate, Policy

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

DEPTH = 192  # nearest earlier questions looked through for those that are in the cache


class Stream(NamedTuple):
    """Questions in order, the number of each one's right answer (n,), and their vectors (n, dims) of unit length."""

    questions: list[str]
    answers: Array
    vectors: Array


class Outcome(NamedTuple):
    """What a replay came to. `served` (hits,) are places in the stream, `wrong` (hits,) whether each was wrong."""

    requests: int
    served: Array
    wrong: Array
    explored: int
    rang: tuple[int, ...]  # where the alarm closed the route

    @property
    def hit_rate(self) -> float:
        """Hits per request; cold start and exploration count."""
        return len(self.served) / max(self.requests, 1)

    @property
    def wrong_rate(self) -> float:
        """Wrong hits per hit."""
        return float(self.wrong.mean()) if len(self.wrong) else 0.0


def shuffled(stream: Stream, seed: int) -> Stream:
    """The stream in the order of this seed."""
    import numpy as np

    return taken(stream, np.random.default_rng(seed).permutation(len(stream.answers)))


def changed(stream: Stream, seed: int, share: float = 0.2) -> Stream:
    """From half-way on, this share of the answers is another than before."""
    import numpy as np

    names = np.unique(stream.answers)
    new = np.random.default_rng(seed).permutation(names)[: round(share * len(names))]
    late = np.arange(len(stream.answers)) >= len(stream.answers) // 2
    answers = np.where(late & np.isin(stream.answers, new), stream.answers + int(names.max()) + 1, stream.answers)
    return stream._replace(answers=answers)


def late(stream: Stream, seed: int) -> Stream:
    """Half of the answers are asked for in the second half of the time only, the others all through."""
    import numpy as np

    draw = np.random.default_rng(seed)
    names = np.unique(stream.answers)
    new = np.isin(stream.answers, draw.permutation(names)[: len(names) // 2])
    when = np.where(new, draw.uniform(0.5, 1, len(new)), draw.uniform(0, 1, len(new)))
    return taken(stream, np.argsort(when))


def taken(stream: Stream, order: Array) -> Stream:
    """The questions at these places."""
    import numpy as np

    questions = [stream.questions[at] for at in order]
    return Stream(questions, stream.answers[order], np.ascontiguousarray(stream.vectors[order]))


def nearest(vectors: Array, depth: int = DEPTH, block: int = 512) -> tuple[Array, Array]:
    """For each question the `depth` nearest earlier ones, best first, and their cosines; −1 where there is none."""
    import numpy as np

    n = len(vectors)
    places, cosines = np.full((n, depth), -1, np.int32), np.full((n, depth), -1, np.float32)
    for start in range(0, n, block):
        stop = min(n, start + block)
        near = vectors[start:stop] @ vectors[:stop].T
        near[np.arange(start, stop)[:, None] <= np.arange(stop)[None, :]] = -2
        width = min(depth, stop)
        best = np.argpartition(-near, width - 1, axis=1)[:, :width]
        values = np.take_along_axis(near, best, 1)
        order = np.argsort(-values, axis=1)
        best, values = np.take_along_axis(best, order, 1), np.take_along_axis(values, order, 1)
        best[values < -1.5] = -1
        places[start:stop, :width], cosines[start:stop, :width] = best, values
    return places, cosines


def replay(stream: Stream, policy: Policy, near: tuple[Array, Array] | None = None, width: int = 20) -> Outcome:
    """Each question asked in turn; `width` nearest entries are the policy's candidates."""
    import numpy as np

    questions, answers, vectors = stream
    places, cosines = nearest(vectors) if near is None else near
    held, group = np.zeros(len(questions) + 1, dtype=bool), np.full(len(questions), -1)
    served, wrong, rang, explored, groups = [], [], [], 0, 0
    for at, asked in enumerate(questions):
        found = np.flatnonzero(held[places[at]])[:width]
        entries = places[at][found].tolist()
        candidates = [
            Candidate(entry, int(group[entry]), questions[entry], cosine)
            for entry, cosine in zip(entries, cosines[at][found].tolist(), strict=True)
        ]
        choice = policy.decide(asked, vectors[at], candidates)
        if choice.entry is not None:
            served.append(at)
            wrong.append(answers[choice.entry] != answers[at])
            continue
        explored += choice.explore
        compared = [candidates[place] for place in choice.compare]
        before = policy.rang
        lesson = policy.learn(
            choice, [c.group for c in compared], [bool(answers[c.entry] == answers[at]) for c in compared]
        )
        rang += [at] * (policy.rang > before)
        if lesson.retired is not None:
            held[:-1][group == lesson.retired] = False
        if lesson.group is None:
            groups += 1
        group[at] = groups if lesson.group is None else lesson.group
        held[at] = True
        policy.store(int(group[at]), vectors[at], asked)
        if policy.due():
            policy.refit()
    return Outcome(len(questions), np.array(served, dtype=int), np.array(wrong, dtype=bool), explored, tuple(rang))
