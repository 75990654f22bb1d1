"""The bench: a thread of its own in which pairs are judged one by one, so that no judge holds up the traffic."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable

from trimtab.errors import TrimtabError
from trimtab.gate import sides
from trimtab.gateway.trial import Pair
from trimtab.rollout import answers, scoring
from trimtab.rollout.round import Round
from trimtab.rollout.scoring import Scorer

_MOST_WAITING = 200
_PATIENCE_S = 60.0
# What a judge may raise over an answer that it did not expect.
_RAISED = (TrimtabError, ArithmeticError, LookupError, OSError, RuntimeError, TimeoutError, TypeError, ValueError)


class Bench:
    """`put` from the event loop never waits: what there is no room for is dropped and counted. `on_judged` is called
    after each pair."""

    def __init__(self, scorer: Scorer, on_judged: Callable[[], None]) -> None:
        self.scorer = scorer
        self._on_judged = on_judged
        self._waiting: queue.Queue[tuple[Round, Pair] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="trimtab-judge", daemon=True)
        self._thread.start()

    def put(self, to: Round, pair: Pair) -> None:
        try:
            self._waiting.put_nowait((to, pair))
        except queue.Full:
            to.dropped["judge"] += 1

    def close(self) -> None:
        """End after the pair that is being judged."""
        with self._waiting.mutex:
            self._waiting.queue.clear()
        self._waiting.put(None)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            while (given := self._waiting.get()) is not None:
                to, pair = given
                to.judged(pair, runner.run(self._judge(pair)), _prompts(pair))
                self._on_judged()

    async def _judge(self, pair: Pair) -> float | None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await scoring.difference(pair, self.scorer)
        except _RAISED:
            return None


def _prompts(pair: Pair) -> tuple[str, ...]:
    """Digests of the system prompts of what was asked."""
    body = answers.asked(pair.payload(pair.baseline).request, pair.asked.dialect.name)
    try:
        return sides.system_prompts([body])
    except _RAISED:
        return ()  # It is no chat.
