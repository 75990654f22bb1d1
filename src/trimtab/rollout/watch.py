"""Watch: what a serving process does about rollouts. Follows the register, feeds it, and rolls back by itself.

Its own thread does it, so that a busy event loop delays no rollback; a trial ends by one assignment.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from collections import Counter
from pathlib import Path

from trimtab.errors import NotProven, TrimtabError
from trimtab.gateway.chain import Call as Chain
from trimtab.gateway.chat import Services
from trimtab.gateway.metrics import Gauge, Labels
from trimtab.gateway.serving import Serving
from trimtab.rollout import proof, scoring, stages, steps
from trimtab.rollout.bench import Bench
from trimtab.rollout.register import Overtaken, Process, Register
from trimtab.rollout.round import Round
from trimtab.rollout.stages import Rollout, Stage
from trimtab.verdict import Decision

log = logging.getLogger("trimtab.rollout")

# How often the thread looks: for a first rollout, and while there is one.
IDLE_S = 0.25
ACTIVE_S = 0.05
# So many rows of detectors are kept apart before their state takes their place.
_KEEP_EVERY = 500
_VERDICT = b"verdict"
# A ledger that refused is tried again so much later.
_AGAIN_S = 1.0
_COUNT_S = 0.5


class Watch:
    """Of one process, over the register in `folder`. `tail` is the upstream call of shadows."""

    def __init__(self, folder: Path, services: Services, tail: Chain) -> None:
        self._folder = folder
        self._services = services
        self._tail = tail
        text = "Serving processes by the stage of the rollout that they take part in."
        services.meter.gauges.append(Gauge("trimtab_rollout_processes", text, self._stages))
        self._register: Register | None = None
        self._round: Round | None = None
        self._ready: tuple[str, Serving] | None = None
        self._looked: tuple[int, Serving] | None = None
        self._kept = 0
        self._swapped_ns = 0
        # Why this process rolled back while the register could not be told.
        self._owed = ""
        self._blind = False
        # When the ledger is looked after next, and the figures are written again.
        self._settle_at = 0.0
        self._count_at = 0.0
        self._warned = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bench: Bench | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trimtab-rollout", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take up the rollout that the register has, before anything is served; then follow it in a thread."""
        self._loop = loop
        self._turn()
        self._thread.start()

    def close(self) -> None:
        """Feed what waits, and end."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        if self._bench is not None:
            self._bench.close()
        if self._register is not None and not self._thread.is_alive():
            try:
                self._register.leave(os.getpid())
            except TrimtabError as error:
                log.warning("%s", error)
            self._register.close()

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._wake.wait(ACTIVE_S if self._round is not None else IDLE_S)
                self._wake.clear()
                self._turn()
            self._count_at = 0.0
            self._turn()
        finally:
            if not self._closing.is_set():
                # Nobody watches any more.
                self._services.live.trial = None
                log.error("the watch over rollouts ended: the baseline serves all")

    def _turn(self) -> None:
        try:
            if self._register is None:
                self._register = Register(self._folder)
            self._look(self._register)
            if self._round is not None:
                self._feed(self._register, self._round)
        except Overtaken:
            self._looked = None
        except TrimtabError as error:
            if self._round is not None:
                self._go_blind(self._round)
            self._warn(error)
        else:
            self._settle(self._register)

    def _warn(self, error: TrimtabError) -> None:
        if str(error) != self._warned:
            log.error("rollout: %s", error)
        self._warned = str(error)

    def _look(self, register: Register) -> None:
        """Serve by what the register says, where that or what is configured has changed."""
        live = self._services.live
        now = (register.changes(), live.serving)
        # The same Deployment made ready anew is another one to serve.
        is_seen = self._looked is not None and now[0] == self._looked[0] and now[1] is self._looked[1]
        if is_seen and not self._blind and not self._owed:
            return
        rollout = register.latest()
        if self._owed and rollout is not None:
            rollout = self._make_good(register, rollout)
        if rollout is not None and rollout.stage.runs and self._is_over(register, rollout, live.serving):
            rollout = register.latest()
        held = self._round
        if rollout is None or not rollout.stage.runs:
            if held is not None:
                self._swap(None)
            if held is not None or self._looked is None:
                self._report(register, rollout)
        elif (
            self._blind or held is None or _place(held.rollout) != _place(rollout) or held.baseline is not live.serving
        ):
            self._begin(register, rollout, live.serving)
        self._looked, self._blind = now, False
        if register.events(waiting=True):
            self._settle_at = 0.0

    def _is_over(self, register: Register, rollout: Rollout, serving: Serving) -> bool:
        """End a rollout whose baseline is not what is configured any more."""
        if stages.same(serving.deployment, rollout.baseline):
            return False
        done = stages.same(serving.deployment, rollout.candidate)
        reason = "its candidate is what is configured now" if done else "the baseline was changed under it"
        with register.change():
            register.move(rollout, Stage.ENDED, reason)
        return True

    def _begin(self, register: Register, rollout: Rollout, baseline: Serving) -> None:
        """Take part in the rollout's stage; one whose candidate cannot be served here is rolled back."""
        try:
            if self._ready is None or self._ready[0] != rollout.id:
                self._ready = (rollout.id, self._services.live.ready(rollout.candidate))
            if self._bench is None:
                self._bench = Bench(scoring.make(rollout.plan.judge), self._wake.set)
            self._bench.scorer = scoring.make(rollout.plan.judge)
        except TrimtabError as error:
            with register.change():
                register.move(rollout, Stage.ROLLED_BACK, f"the candidate cannot be served: {error}")
            self._swap(None)
            log.error("rollout %s was rolled back: %s", rollout.id, error)
            return
        sides = (baseline, self._ready[1])
        new = Round(rollout, sides, (self._services, self._tail), self._bench.put, self._wake.set)
        if (state := register.kept(rollout)) is not None:
            new.evidence.resume(state)
        self._swap(new)
        self._report(register, rollout)

    def _swap(self, new: Round | None) -> None:
        """The pointer swap. Calls under way end as they began; shadows under way are broken off."""
        old, self._round = self._round, new
        self._services.live.trial = new.trial if new is not None else None
        self._swapped_ns = time.time_ns()
        if old is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(old.shadows.close)

    def _stages(self) -> dict[Labels, float]:
        now = self._round
        return {} if now is None else {(("stage", now.rollout.stage.value),): 1.0}

    def _report(self, register: Register, rollout: Rollout | None) -> None:
        if rollout is not None:
            register.report(Process(os.getpid(), rollout.id, rollout.revision, self._swapped_ns or time.time_ns()))

    def _feed(self, register: Register, now: Round) -> None:
        """Put what was seen into the register, read what others put there, and act on what all of it says."""
        batch, rollout = now.drain(), now.rollout
        grown = now.grown() if time.monotonic() >= self._count_at else Counter()
        if not batch and not grown and not register.has_rows(rollout, now.evidence.number):
            return
        moved: Rollout | None = None
        with register.change():
            latest = register.latest()
            if latest is None or _place(latest) != _place(rollout):
                self._looked = None
                return
            for seen in batch:
                if not seen.cluster or register.claim(rollout, seen.cluster):
                    register.add(rollout, seen.row, seen.note)
            register.count(rollout, grown)
            register.met(rollout, tuple(now.models))
            self._catch_up(register, now)
            moved = self._act(register, now)
        self._owed = ""
        if grown:
            now.counted(grown)
            self._count_at = time.monotonic() + _COUNT_S
        if moved is not None:
            log.warning("rollout %s is %s: %s", moved.id, moved.stage, moved.reason)
            self._report(register, moved)
            register.secure()
            self._looked = None

    def _catch_up(self, register: Register, now: Round) -> None:
        evidence, rollout = now.evidence, now.rollout
        state = register.kept(rollout)
        if state is not None and state["number"] > evidence.number:
            # Rows of detectors up to there are gone: others took them.
            evidence.resume(state)
        rows = register.rows(rollout, evidence.number)
        for row in rows:
            evidence.take(row)
        self._kept += len(rows)
        if evidence.detectors and self._kept >= _KEEP_EVERY:
            self._kept = 0
            register.keep(rollout, evidence.state())

    def _act(self, register: Register, now: Round) -> Rollout | None:
        """Roll back on an alarm; note a verdict once it is there, and roll back where it rejects."""
        rollout, evidence = now.rollout, now.evidence
        if alarm := evidence.alarm:
            self._take_back(alarm)
            return register.move(rollout, Stage.ROLLED_BACK, alarm)
        decision = evidence.decision
        now.wants_pairs = decision is None
        if decision is None:
            return None
        if decision is Decision.REJECT:
            self._take_back(f"rejected in its {rollout.stage}")
        if not register.claim(rollout, _VERDICT):
            return None
        facts = {name: float(amount) for name, amount in register.counts(rollout).items()}
        calls = register.notes(rollout, evidence.compared)
        self._settle_at = 0.0
        said = proof.verdict(rollout, evidence, proof.Seen(calls, self._judge, facts, register.models(rollout)))
        register.note(rollout.id, "verdict", {"stage": rollout.stage.value, "verdict": proof.plain(said)})
        if decision is Decision.REJECT:
            return register.move(rollout, Stage.ROLLED_BACK, f"rejected: {said.reason}")
        return None

    def _take_back(self, reason: str) -> None:
        """Give the traffic back here and now; the register is owed the `reason` until it has it."""
        self._owed = reason
        self._swap(None)

    @property
    def _judge(self) -> str:
        return self._bench.scorer.version if self._bench is not None else ""

    def _settle(self, register: Register) -> None:
        """Enter into the ledger what waits, and go on by itself where the plan says so. A ledger that is out of order
        stops that, and no rollback."""
        if time.monotonic() < self._settle_at:
            return
        try:
            steps.settle(register, self._folder)
            if self._round is not None:
                self._follow(register, self._round)
            self._settle_at, self._warned = math.inf, ""
        except TrimtabError as error:
            self._settle_at = time.monotonic() + _AGAIN_S
            self._warn(error)

    def _follow(self, register: Register, now: Round) -> None:
        rollout, evidence = now.rollout, now.evidence
        if rollout.plan.automatic and evidence.decision is Decision.PROMOTE:
            try:
                steps.forward(register, self._folder, rollout, simulate=False)
            except NotProven as error:
                # What does not allow it now will not do so later.
                log.warning("%s", error)
            except Overtaken:
                self._looked = None
            else:
                self._looked = None

    def _go_blind(self, now: Round) -> None:
        """Something is out of order: what this process sees alone may still roll it back, here and now."""
        self._blind = True
        for seen in now.drain():
            now.evidence.take(seen.row)
        if now.evidence.alarm:
            self._take_back(now.evidence.alarm)
            log.error("rollout %s was rolled back in this process: %s", now.rollout.id, self._owed)

    def _make_good(self, register: Register, rollout: Rollout) -> Rollout:
        """The register can be used again: tell it, and so the other processes, what was done without it."""
        if rollout.stage.runs:
            with register.change():
                rollout = register.move(rollout, Stage.ROLLED_BACK, self._owed)
        self._owed = ""
        return rollout


def _place(rollout: Rollout) -> tuple[str, int]:
    return rollout.id, rollout.revision
