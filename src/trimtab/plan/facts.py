"""Every call of an audit as a row of numbers: about 130 bytes a call, however large its bodies were."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from typing import NamedTuple

from trimtab.store import personal
from trimtab.store.redaction import scrub_text
from trimtab.trace import Call, EndState

UNKNOWN = -1  # a cost nobody knows
NEVER = -1.0  # the time to the first token of a call that was not streamed
_MOST = 2**62


class Kind(NamedTuple):
    """What many calls have alike. Names are masked."""

    workflow: str
    agent: str
    model: str
    end: EndState
    finish: str
    stream: bool
    batch: bool


def masked(text: str) -> str:
    """`text` as it may be shown."""
    return personal.without(scrub_text(text))


def number_of(name: str, seed: int = 0) -> int:
    """A 63-bit number for `name`, the same in every process; equal seeds and names have equal numbers."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, salt=seed.to_bytes(8, "little"))
    return int.from_bytes(digest.digest(), "little") >> 1


class Facts:
    """Columns, one row a call, in the order they came. `kind` indexes `kinds`; money is in nano-dollars."""

    def __init__(self) -> None:
        self.kinds: list[Kind] = []
        self.kind = array("i")
        self.session, self.trace, self.digest = array("q"), array("q"), array("q")
        self.started, self.cost = array("q"), array("q")
        self.duration, self.ttft = array("d"), array("d")
        self.input, self.output, self.read, self.reasoning = (array("q") for _ in range(4))
        self._known: dict[tuple[object, ...], int] = {}
        self._ids, self._ends = bytearray(), array("Q")

    def __len__(self) -> int:
        return len(self.kind)

    def add(self, call: Call, session: int, trace: int, digest: int) -> None:
        """One more row; `digest` is 0 where the request's body is not known."""
        usage = call.usage
        self.kind.append(self._kind(call))
        self.session.append(session)
        self.trace.append(trace)
        self.digest.append(digest)
        self.started.append(_bounded(call.started_ns))
        cost = call.cost_nanodollars
        self.cost.append(UNKNOWN if cost is None else _bounded(max(0, cost)))
        self.duration.append(call.duration_ms)
        self.ttft.append(NEVER if call.ttft_ms is None else call.ttft_ms)
        self.input.append(_bounded(usage.input_tokens))
        self.output.append(_bounded(usage.output_tokens))
        self.read.append(_bounded(usage.cache_read_tokens))
        self.reasoning.append(_bounded(usage.reasoning_tokens))
        self._ids += call.id.encode("utf-8", "replace")
        self._ends.append(len(self._ids))

    def _kind(self, call: Call) -> int:
        model = call.response_model or call.request_model
        key = (call.workflow, call.agent, model, call.end, call.finish_reason, call.stream, call.usage.batch)
        found = self._known.get(key)
        if found is None:
            names = (masked(call.workflow), masked(call.agent), masked(model))
            found = self._known[key] = len(self.kinds)
            self.kinds.append(Kind(*names, call.end, call.finish_reason or "", call.stream, call.usage.batch))
        return found

    def id(self, row: int) -> str:
        begin = self._ends[row - 1] if row else 0
        return self._ids[begin : self._ends[row]].decode()

    def ids(self, rows: list[int]) -> tuple[str, ...]:
        return tuple(self.id(row) for row in rows)

    def by_time(self) -> list[int] | range:
        """Rows, oldest first; those of one moment as they came."""
        started = self.started
        if all(started[row - 1] <= started[row] for row in range(1, len(started))):
            return range(len(started))
        return sorted(range(len(started)), key=started.__getitem__)

    def rows_by(self, key: Callable[[Kind], tuple[str, ...] | None]) -> Iterator[tuple[tuple[str, ...], array[int]]]:
        """Rows grouped by a key of their kind, left out where it is None."""
        keys = [key(kind) for kind in self.kinds]
        rows: dict[tuple[str, ...], array[int]] = {name: array("q") for name in keys if name is not None}
        targets = [None if name is None else rows[name] for name in keys]
        for row, kind in enumerate(self.kind):
            target = targets[kind]
            if target is not None:
                target.append(row)
        yield from rows.items()


def _bounded(number: int) -> int:
    return number if -_MOST < number < _MOST else (_MOST if number > 0 else -_MOST)
