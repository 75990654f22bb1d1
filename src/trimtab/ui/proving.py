"""Proving a lever in the demo: the commands that a user would type, one after the other, beside live customers.

Knows no lever, no gate and no rollout: it types their commands, and goes by what they end with. A model that a lever
made it serves as the lever says.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab.gateway.process import Child
from trimtab.levers import finding

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
    it is shadow, canary (at most) and full. `options` are LEVER.NAME=VALUE, where {served} stands for the model that
    serves, as a name or a folder, and {checkpoint} for the last such that can be tuned or rounded; `criteria` the
    gate's file."""

    suite: str = "arena:test:600:1"
    margin: float = 0.1
    shadow: int = 40
    canary: int = 400
    full: int = 300
    options: tuple[str, ...] = ()
    criteria: Path | None = None


class Came(msgspec.Struct, frozen=True):
    """How far a lever came, and when (Unix ns) its rollout began and it served in full; 0: never."""

    lever: str
    stage: str
    began_ns: int = 0
    full_ns: int = 0


class House(msgspec.Struct):
    """Where it takes place: the store's folder with `trimtab.toml` in it, `customers(n)` that lets the next n come and
    ends when their calls are recorded, the model that they `asked` for, `engines` that end with it, `served` and
    `checkpoint` the model behind it, `say` for a line, and whether the commands print to the error output."""

    folder: Path
    customers: Callable[[int], None]
    say: Callable[[str], None]
    asked: str
    engines: contextlib.ExitStack
    served: str
    checkpoint: str
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

    def build(self, *words: str | Path) -> dict[str, Any] | None:
        """Run `trimtab build WORDS`; what it made, of which the plain lines are shown. None where it fails."""
        its = [str(word) for word in words]
        self.say(f"$ trimtab build {' '.join(its)}")
        command = [sys.executable, "-m", "trimtab", "build", *its, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            return None
        told = msgspec.json.decode(done.stdout, type=dict[str, Any])
        for name, held in told.items():
            if not isinstance(held, dict | list):
                print(f"  {name}: {held}", file=sys.stderr if self.aside else sys.stdout, flush=True)
        return told

    def serve(self, words: Sequence[str]) -> None:
        """Start `trimtab engine serve WORDS`, until the demo ends. TrimtabError where it does not start."""
        self.say(f"$ trimtab engine serve {' '.join(words)}")
        self.engines.enter_context(Child(["engine", "serve", *words]))

    def moved(self, words: Sequence[str]) -> None:
        """What is served from now on."""
        self.served = words[0].partition("=")[2]
        if any(Path(self.served).glob("*.safetensors")):
            self.checkpoint = self.served

    def ask(self, *words: str | Path) -> bytes:
        """What `trimtab WORDS` prints, unseen."""
        its = [str(word) for word in words]
        return subprocess.run([sys.executable, "-m", "trimtab", *its], capture_output=True, check=False).stdout


def play(house: House, levers: Sequence[str], terms: Terms) -> list[Came]:
    """Each lever in turn, on what the ones before left serving; how far each came."""
    return [_one(house, lever, terms) for lever in levers]


def _one(house: House, lever: str, terms: Terms) -> Came:
    """Estimate, build, serve what was built, gate, and then the rollout."""
    candidate = house.folder / f"{lever}.toml"
    at = ("--store", house.folder, "--config", house.config)
    options = [word for each in _options(house, lever, terms.options) for word in ("--option", each)]
    if house.type("estimate", lever, *at, *options):
        return Came(lever, "not estimated")
    made = house.build(lever, *at, *options, "--candidate", candidate)
    if made is None:
        return Came(lever, "not built")
    if made["serve"]:
        house.serve(made["serve"])
    sides = ("--baseline", f"{house.config}#{house.asked}", "--candidate", f"{candidate}#{house.asked}")
    gate = ("gate", "run", *sides, "--suite", terms.suite)
    criteria = ("--criteria", terms.criteria) if terms.criteria else ()
    if house.type(*gate, *criteria, "--margin", f"{terms.margin:g}", "--store", house.folder) != PROMOTED:
        return Came(lever, "not proven")
    began = time.time_ns()
    stage, full = _rolled_out(house, candidate, terms)
    if full and made["serve"]:
        house.moved(made["serve"])
    return Came(lever, stage, began, full)


def _options(house: House, lever: str, given: Sequence[str]) -> list[str]:
    """Those of the lever; a model that it makes is served on a port that is free now."""
    its = [each.removeprefix(f"{lever}.") for each in given if each.startswith(f"{lever}.")]
    filled = [each.replace("{served}", house.served).replace("{checkpoint}", house.checkpoint) for each in its]
    if finding.serves(lever) and not any(each.partition("=")[0].strip() == "url" for each in filled):
        filled.append(f'url="http://127.0.0.1:{_free_port()}/v1"')
    return filled


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def _rolled_out(house: House, candidate: Path, terms: Terms) -> tuple[str, int]:
    """Shadow, canary, full; then the candidate is what is configured. How far it came, and when it served in full."""
    at = ("--store", house.folder, "--config", house.config)
    plan = house.folder / "rollout.toml"
    plan.write_text(PLAN.format(margin=terms.margin, cap=max(100, terms.canary)), encoding="utf-8")
    if house.type("rollout", "start", *at, "--candidate", candidate, "--plan", plan):
        return "not begun", 0
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
    full = time.time_ns()
    house.customers(terms.full)
    house.type("rollout", "status", *at)
    if _status(house)["rollout"]["stage"] != "full":
        return "taken back", 0
    _settled(house, candidate)
    return "full", full


def _decided(house: House) -> bool:
    found = _status(house)
    return bool(found["rollout"]["stage"] != "canary" or found["evidence"].get("decision"))


def _status(house: House) -> dict[str, Any]:
    its = house.ask("rollout", "status", "--store", house.folder, "--config", house.config, "--json")
    return msgspec.json.decode(its, type=dict[str, Any])


def _taken_back(house: House, stage: str) -> tuple[str, int]:
    """No verdict lets it go on: the traffic goes back to what served before."""
    reason = f"the {stage} was not passed"
    house.type("rollout", "rollback", "--store", house.folder, "--config", house.config, "--reason", reason)
    return f"{stage} not passed", 0


def _settled(house: House, candidate: Path) -> None:
    """Put what serves in full into the gateway's own file, which ends the rollout, and wait until it is taken."""
    own = house.config.read_text(encoding="utf-8").partition("[[endpoints]]")[0].splitlines()
    tables = "\n".join(own[next(place for place, line in enumerate(own) if line.startswith("[gateway]")) :])
    house.config.write_text(f"{candidate.read_text(encoding='utf-8')}\n{tables}\n", encoding="utf-8")
    until = time.monotonic() + PATIENCE_S
    while _status(house)["rollout"]["stage"] == "full" and time.monotonic() < until:
        time.sleep(0.5)
