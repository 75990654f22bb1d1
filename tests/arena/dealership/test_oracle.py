import asyncio
import hashlib
import os
import subprocess
import sys

import pytest

from trimtab.arena.dealership import goals, phrases, tasks
from trimtab.arena.dealership.session import MAX_CALLS, faults, solved_by_oracle

FINGERPRINT = """
import asyncio, hashlib
from trimtab.arena.dealership import tasks
from trimtab.arena.dealership.session import solved_by_oracle
digest = hashlib.sha256()
for task in tasks.draw("validation", 40, 9):
    played = asyncio.run(solved_by_oracle(task))
    digest.update(repr((task, [s.messages for s in played.segments], played.state, played.facts)).encode())
print(digest.hexdigest())
"""


@pytest.mark.parametrize("split", phrases.SPLITS)
def test_the_oracle_solves_every_task(split):
    """Two plays of a task must agree: what is judged is one session against the other."""
    asked = {}
    for task in tasks.draw(split, 300, 11):
        played, expected = (asyncio.run(solved_by_oracle(task)) for _ in range(2))
        assert faults(played, expected) == []
        assert played.why == "left", task
        assert played.calls < MAX_CALLS
        assert played.segments == expected.segments
        asked.setdefault(task.family, []).append(played.tool_calls)
    assert len(asked) >= 0.9 * len(goals.FAMILIES)


def test_each_family_takes_the_tool_calls_it_says():
    seen = {}
    for task in tasks.draw("train", 600, 12):
        seen.setdefault(task.family, set()).add(asyncio.run(solved_by_oracle(task)).tool_calls)
    assert all(spec.steps in seen[name] for name, spec in goals.FAMILIES.items()), seen


def test_sessions_are_the_same_in_every_process():
    prints = {
        subprocess.run(
            [sys.executable, "-c", FINGERPRINT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(prints) == 1
    assert len(prints.pop().strip()) == hashlib.sha256().digest_size * 2
