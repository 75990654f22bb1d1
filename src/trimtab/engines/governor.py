"""The governor: how many tokens are drafted for a request, by how many are being answered and by what it has cost.

Knows no model: concurrency and CPU seconds in, a draft length out.
"""

from __future__ import annotations

import re
from collections import deque

from trimtab.errors import ConfigError

Ladder = tuple[tuple[int, int], ...]
# From so many answers at once: so many tokens drafted a step. The more answers, the sooner arithmetic bounds a step and
# no longer memory, and then a drafted token that is refused is paid for in full. Measured with drafters whose tokens
# stand in eight of ten cases; one that does worse is given up by what it costs.
MODEL_LADDER: Ladder = ((1, 8), (2, 6), (4, 5), (8, 3), (24, 0))
LOOKUP_LADDER: Ladder = ((1, 4), (2, 2), (3, 0))
MOST = 32
PROBE = 32  # one request in so many goes the other way, so that both ways keep being measured
FIRST = 1  # the probe's place among them: early, for a drafter may be bad, and both caches should know the prompts
SELDOM = 4  # where one way costs CLEAR times the other it is asked so many times more seldom
CLEAR = 1.25
ENOUGH = 256  # tokens of each way before they are compared
CALM = 16  # a request is drafted for as the busiest of so many before it
FADE = 0.97  # weight of what was known when a window is added: some thirty windows are remembered

_RUNG = re.compile(r"(\d+):(\d+)")


def read_ladder(text: str) -> Ladder:
    """`1:8,2:4,4:2,8:0` -> ((1, 8), (2, 4), (4, 2), (8, 0)). Errors: ConfigError."""
    rungs = [_RUNG.fullmatch(part.strip()) for part in text.split(",")]
    ladder = tuple((int(rung[1]), int(rung[2])) for rung in rungs if rung is not None)
    if len(ladder) != len(rungs):
        raise ConfigError(f"draft lengths '{text}' cannot be read: write CONCURRENCY:LENGTH,... such as 1:8,2:4,8:0")
    return checked(ladder)


def checked(ladder: Ladder) -> Ladder:
    """`ladder` itself. ConfigError unless it starts at 1, rises, and drafts 0 to MOST tokens."""
    starts = [start for start, _ in ladder]
    if not ladder or starts[0] != 1 or starts != sorted(set(starts)):
        raise ConfigError(f"draft lengths {text_of(ladder)} must start at concurrency 1 and rise: such as 1:8,2:4,8:0")
    if any(not 0 <= length <= MOST for _, length in ladder):
        raise ConfigError(f"draft lengths {text_of(ladder)} must each be 0 to {MOST}")
    return ladder


def text_of(ladder: Ladder) -> str:
    return ",".join(f"{start}:{length}" for start, length in ladder)


class Rung:
    """One step of the ladder: what a token has cost there, drafted and not, in CPU seconds that fade."""

    def __init__(self, start: int, length: int) -> None:
        self.start, self.length = start, length
        self.requests = 0
        # Only a batch that goes one way as a whole tells what that way costs: among many a single one tells nothing.
        self.run = 1 if start == 1 else 4 * start
        self._seconds, self._tokens = [0.0, 0.0], [0.0, 0.0]

    def note(self, drafted: bool, tokens: int, seconds: float) -> None:
        self._seconds[drafted] = self._seconds[drafted] * FADE + seconds
        self._tokens[drafted] = self._tokens[drafted] * FADE + tokens

    @property
    def gain(self) -> float | None:
        """What a token costs without drafting, divided by what it costs with it; None until both were measured."""
        if min(self._tokens) < ENOUGH:
            return None
        plain, drafted = (seconds / tokens for seconds, tokens in zip(self._seconds, self._tokens, strict=True))
        return plain / max(drafted, 1e-12)

    @property
    def pays(self) -> bool:
        """Whether drafting pays, as far as is known: until both ways were measured it is taken to."""
        return bool(self.length) and (self.gain is None or self.gain > 1)

    @property
    def period(self) -> int:
        """One request in so many goes the other way."""
        clear = self.gain is not None and not 1 / CLEAR < self.gain < CLEAR
        return PROBE * SELDOM if clear else PROBE


class Governor:
    """One for each worker that has a drafter."""

    def __init__(self, ladder: Ladder) -> None:
        self.rungs = [Rung(start, length) for start, length in checked(ladder)]
        self._lately: deque[int] = deque(maxlen=CALM)

    def choose(self, concurrency: int) -> int:
        """The draft length for a request that comes to be one of `concurrency`; 0: none.

        A lull is not believed at once: what goes the other way there finds its prompt in neither cache, and two
        pipelines at work share the cores.
        """
        self._lately.append(concurrency)
        rung = self.rung(self.crowd)
        if not rung.length:
            return 0
        other = (rung.requests // rung.run) % rung.period == FIRST
        rung.requests += 1
        return rung.length if rung.pays != other else 0

    @property
    def crowd(self) -> int:
        """The most at once that one of the last CALM requests met."""
        return max(self._lately, default=0)

    def note(self, concurrency: int, drafted: bool, tokens: int, seconds: float) -> None:
        """`tokens` were made in `seconds` of CPU time while `concurrency` answers ran, all drafted or none."""
        if tokens > 0:
            self.rung(concurrency).note(drafted, tokens, seconds)

    def rung(self, concurrency: int) -> Rung:
        return [rung for rung in self.rungs if rung.start <= max(1, concurrency)][-1]

    @property
    def lengths(self) -> Ladder:
        """What is drafted now: 0 where it was found not to pay."""
        return tuple((rung.start, rung.length if rung.pays else 0) for rung in self.rungs)
