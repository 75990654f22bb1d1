"""Routes: one decision a workflow and agent, each learning from its own traffic; kept on the disk between starts."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.levers.cache.policy import Candidate, Choice, Lesson, Policy, Setting

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("trimtab.cache")

_FOLDER = "routes"
_MOST = 500


class Route:
    """One policy, for several threads. What is fitted anew is fitted on a copy, so that nobody waits for it."""

    def __init__(self, policy: Policy, path: Path) -> None:
        self.policy = policy
        self._path = path
        self._turn = threading.Lock()
        self._fitting = threading.Lock()

    def strange(self, near: Sequence[Candidate]) -> list[Candidate]:
        """Those of groups that another process or an earlier run stored, and the policy never heard of."""
        return [each for each in near if each.group not in self.policy.slots]

    def meet(self, strange: Sequence[Candidate], vectors: Mapping[int, np.ndarray]) -> None:
        """Make groups known to the policy, by the vectors of their entries; one that has none is no candidate."""
        with self._turn:
            for each in strange:
                if each.entry in vectors:
                    self.policy.store(each.group, vectors[each.entry], each.question)

    def decide(self, asked: str, vector: np.ndarray, near: Sequence[Candidate]) -> Choice:
        """As the policy's; KeyError for a group that it never heard of."""
        with self._turn:
            return self.policy.decide(asked, vector, near)

    def learn(self, choice: Choice, groups: Sequence[int], same: Sequence[bool | None]) -> Lesson:
        with self._turn:
            return self.policy.learn(choice, groups, same)

    def store(self, group: int, vector: np.ndarray, question: str) -> bool:
        """Whether it is time to `refit`."""
        with self._turn:
            self.policy.store(group, vector, question)
            return self.policy.due()

    def refit(self) -> None:
        """Fit a copy, take over what it learned, and write it down. Takes seconds; one at a time."""
        if not self._fitting.acquire(blocking=False):
            return
        try:
            with self._turn:
                state = self.policy.state()
            copy = Policy.resume(state)
            copy.refit()
            with self._turn:
                _take_over(self.policy, copy)
                state = self.policy.state()
            _write(self._path, state)
        finally:
            self._fitting.release()

    def save(self) -> None:
        with self._turn:
            state = self.policy.state()
        _write(self._path, state)


def _take_over(policy: Policy, fitted: Policy) -> None:
    """What the fit of a copy found, and the places of groups that changed meanwhile."""
    import numpy as np

    policy.verifier, policy.curve, policy.threshold = fitted.verifier, fitted.curve, fitted.threshold
    policy.fitted = fitted.fitted
    ours, its = policy.metric, fitted.metric
    if its.axes is None:
        return
    ours.axes, ours.spread, ours.middle, ours.learned = its.axes, its.spread, its.middle, its.learned
    means = np.zeros((len(ours.sums), its.means.shape[1]), np.float32)
    known = min(len(its.members), len(ours.members))
    means[:known] = its.means[:known]
    for slot, members in enumerate(ours.members):
        if members and (slot >= known or members != its.members[slot]):
            means[slot] = ours.project(ours.sums[slot] / members)
    ours.means = means


class Routes:
    """By name. A route that is new begins with the artefact's `state`, or knows nothing."""

    def __init__(self, folder: Path, setting: Setting, seed: int, dims: int, state: bytes | None) -> None:
        self._folder = folder / _FOLDER
        self._new = (setting, seed, dims)
        self._state = state
        self._known: dict[str, Route] = {}
        self._turn = threading.Lock()

    def of(self, name: str) -> Route:
        """The route `name`; beyond 500 of them they share one, because clients choose the names."""
        with self._turn:
            if name not in self._known and len(self._known) >= _MOST:
                name = ""
            if name not in self._known:
                self._known[name] = self._made(name)
            return self._known[name]

    def _made(self, name: str) -> Route:
        path = self._folder / f"{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:32]}.state"
        setting, seed, dims = self._new
        for state in (_read(path), self._state):
            if state is None:
                continue
            try:
                policy = Policy.resume(state)
            except (ValueError, KeyError, TypeError, OSError, EOFError) as error:
                log.warning("what route '%s' had learned cannot be read, it learns anew: %s", name, error)
                continue
            policy.setting = setting
            return Route(policy, path)
        return Route(Policy(setting, seed, dims), path)

    def all(self) -> dict[str, Route]:
        with self._turn:
            return dict(self._known)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _write(path: Path, state: bytes) -> None:
    """Whole or not at all. What cannot be written is learned again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(state)
        Path(name).replace(path)
    except OSError as error:
        log.warning("what a route learned was not written down: %s", error)
        with contextlib.suppress(OSError, UnboundLocalError):
            Path(name).unlink(missing_ok=True)
