"""Proving a lever in the demo: the commands that a user would type, one after the other, beside live customers.

Knows no lever, no gate and no rollout: it types their commands, and goes by what they end with.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

PROMOTED = 0
# One look at a canary after so many customers.
BATCH = 40
# How long the gateway may take to read its file again.
PATIENCE_S = 10.0
PLAN = """\
# Written by `trimtab demo`: a canary of half the sessions, and each of their calls asked twice.
margin = {margin}
canary = 0.5
sampled = 1.0
per_s = 50.0
errors = 0.1
cap = {cap}
"""


class Terms(msgspec.Struct, frozen=True):
    """What each lever goes through: the gate's `suite` and loss accepted (`margin`), and how many customers come while
    it is shadow, canary (at most) and full. `options` are LEVER.NAME=VALUE, `criteria` the gate's file."""

    suite: str = "arena:test:600:1"
    margin: float = 0.1
    shadow: int = 40
    canary: int = 400
    full: int = 300
    options: tuple[str, ...] = ()
    criteria: Path | None = None


class House(msgspec.Struct, frozen=True):
    """Where it takes place: the store's folder with `trimtab.toml` in it, `customers(n)` that lets the next n come and
    ends when their calls are recorded, `say` for a line, and whether the commands print to the error output."""

    folder: Path
    customers: Callable[[int], None]
    say: Callable[[str], None]
    aside: bool = False

    @property
    def config(self) -> Path:
        return self.folder / "trimtab.toml"

    def type(self, *words: str | Path) -> int:
        """Run `trimtab WORDS` as it stands there; its exit code."""
        its = [str(word) for word in words]
        self.say(f"$ trimtab {' '.join(its)}")
        output = sys.stderr if self.aside else sys.stdout
        output.flush()
        room = {"COLUMNS": "120", **os.environ}
        return subprocess.run([sys.executable, "-m", "trimtab", *its], stdout=output, env=room, check=False).returncode

    def ask(self, *words: str | Path) -> bytes:
        """What `trimtab WORDS` prints, unseen."""
        its = [str(word) for word in words]
        return subprocess.run([sys.executable, "-m", "trimtab", *its], capture_output=True, check=False).stdout


def play(house: House, levers: Sequence[str], terms: Terms) -> dict[str, str]:
    """Each lever in turn, on what the ones before left serving; how far each came."""
    return {lever: _one(house, lever, terms) for lever in levers}


def _one(house: House, lever: str, terms: Terms) -> str:
    """Estimate, build, gate, and then the rollout."""
    candidate = house.folder / f"{lever}.toml"
    at = ("--store", house.folder, "--config", house.config)
    options = [word for each in _options(lever, terms.options) for word in ("--option", each)]
    if house.type("estimate", lever, *at, *options):
        return "not estimated"
    if house.type("build", lever, *at, *options, "--candidate", candidate):
        return "not built"
    gate = ("gate", "run", "--baseline", house.config, "--candidate", candidate, "--suite", terms.suite)
    criteria = ("--criteria", terms.criteria) if terms.criteria else ()
    if house.type(*gate, *criteria, "--margin", f"{terms.margin:g}", "--store", house.folder) != PROMOTED:
        return "not proven"
    return _rolled_out(house, candidate, terms)


def _options(lever: str, given: Sequence[str]) -> list[str]:
    return [each.removeprefix(f"{lever}.") for each in given if each.startswith(f"{lever}.")]


def _rolled_out(house: House, candidate: Path, terms: Terms) -> str:
    """Shadow, canary, full; then the candidate is what is configured."""
    at = ("--store", house.folder, "--config", house.config)
    plan = house.folder / "rollout.toml"
    plan.write_text(PLAN.format(margin=terms.margin, cap=max(100, terms.canary)), encoding="utf-8")
    if house.type("rollout", "start", *at, "--candidate", candidate, "--plan", plan):
        return "not begun"
    house.customers(terms.shadow)
    if house.type("rollout", "advance", *at):
        return _taken_back(house, "shadow")
    left = terms.canary
    while left > 0 and not _decided(house):
        house.customers(min(BATCH, left))
        left -= BATCH
    house.type("rollout", "status", *at)
    if house.type("rollout", "advance", *at):
        return _taken_back(house, "canary")
    house.customers(terms.full)
    house.type("rollout", "status", *at)
    if _status(house)["rollout"]["stage"] != "full":
        return "taken back"
    _settled(house, candidate)
    return "full"


def _decided(house: House) -> bool:
    found = _status(house)
    return bool(found["rollout"]["stage"] != "canary" or found["evidence"].get("decision"))


def _status(house: House) -> dict[str, Any]:
    its = house.ask("rollout", "status", "--store", house.folder, "--config", house.config, "--json")
    return msgspec.json.decode(its, type=dict[str, Any])


def _taken_back(house: House, stage: str) -> str:
    """No verdict lets it go on: the traffic goes back to what served before."""
    reason = f"the {stage} was not passed"
    house.type("rollout", "rollback", "--store", house.folder, "--config", house.config, "--reason", reason)
    return f"{stage} not passed"


def _settled(house: House, candidate: Path) -> None:
    """Put what serves in full into the gateway's own file, which ends the rollout, and wait until it is taken."""
    own = house.config.read_text(encoding="utf-8").partition("[[endpoints]]")[0].splitlines()
    tables = "\n".join(own[next(place for place, line in enumerate(own) if line.startswith("[gateway]")) :])
    house.config.write_text(f"{candidate.read_text(encoding='utf-8')}\n{tables}\n", encoding="utf-8")
    until = time.monotonic() + PATIENCE_S
    while _status(house)["rollout"]["stage"] == "full" and time.monotonic() < until:
        time.sleep(0.5)
