"""A suite of inspect_ai through two gateways, stopped early, with a verdict that can be recomputed."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.upstream import FakeUpstream, Script, answer
from trimtab.errors import FormatError
from trimtab.evals.imported import Choice
from trimtab.gate import inspected, recompute, sides
from trimtab.gate.criteria import Criteria
from trimtab.gate.inspected import Task
from trimtab.verdict import Decision

pytest.importorskip("inspect_ai", reason="suites of inspect_ai need the extra 'evals'")

SUMS = str(Path(__file__).parents[1] / "evals" / "tasks" / "sums.py") + "@sums"


class Adders(FakeUpstream):
    """Models that add one: `good` as the baseline, `bad` wrong on a third more."""

    def __enter__(self):
        self.script = self.say
        few = set(random.Random(1).sample(range(160), 16))
        self.wrong = {"base": few, "good": few, "bad": few | set(range(0, 160, 3))}
        self.asked = []
        return super().__enter__()

    def say(self, seen):
        number, model = int(seen.json["messages"][-1]["content"].split("+")[0]), seen.json["model"]
        self.asked.append(model)
        said = str(number + (2 if number in self.wrong[model] else 1))
        return Script(body=answer(message={"role": "assistant", "content": said}))


def test_it_is_run_as_it_is_and_stopped_when_sure(tmp_path):
    task = Task(name=SUMS, choice=Choice(), criteria=Criteria(margin=0.1), folder=tmp_path)
    with Adders() as upstream:
        before = inspected.baseline(task, f"{upstream.url}#base")
        assert len(before[0]) == upstream.asked.count("base")
        found = {
            name: inspected.verdict(task, before, sides.named(f"{upstream.url}#{name}"), {}) for name in ("good", "bad")
        }
    assert {name: verdict.decision for name, verdict in found.items()} == {
        "good": Decision.PROMOTE,
        "bad": Decision.REJECT,
    }
    for name, verdict in found.items():
        assert recompute.check(verdict) == []
        assert verdict.facts["spared"] > 0 and upstream.asked.count(name) < len(before[0])
    log = next((tmp_path / "baseline").glob("*.eval"))
    again, _ = inspected.baseline(task, str(log))
    assert again == before[0]


def test_a_log_of_another_task_is_no_baseline(tmp_path):
    results = tmp_path / "samples_x.jsonl"
    results.write_text('{"doc_id": 3, "doc": {}, "filter": "none", "metrics": ["acc"], "acc": 1.0}\n')
    task = Task(name=SUMS, choice=Choice(), criteria=Criteria(), folder=tmp_path)
    with Adders() as upstream, pytest.raises(FormatError, match="has no sample"):
        before = inspected.baseline(task, str(results))
        inspected.verdict(task, before, sides.named(f"{upstream.url}#good"), {})


def test_the_command_line_runs_it_and_the_ledger_holds_the_verdict(tmp_path):
    with Adders() as upstream:
        words = ["gate", "run", "--suite", f"inspect:{SUMS}", "--margin", "0.1", "--store", str(tmp_path)]
        words += ["--baseline", f"{upstream.url}#base", "--candidate", f"{upstream.url}#bad"]
        done = trimtab(*words)
    assert done.returncode == 1, done.stderr
    assert "## Gate: ❌ reject" in done.stdout
    verified = trimtab("ledger", "verify", "--store", str(tmp_path))
    assert "1 verdicts follow" in verified.stdout, verified.stderr


def trimtab(*words):
    command = [sys.executable, "-m", "trimtab", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
