import json
import os
import subprocess
import sys

import msgspec
import pytest

from tests.gate import scripted
from tests.gate.scripted import Model, serving
from trimtab.verdict import Verdict


def trimtab(*words):
    command = [sys.executable, "-m", "trimtab", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def suite(tmp_path):
    return scripted.suite(tmp_path / "suite.jsonl", 600)


@pytest.fixture
def criteria(tmp_path):
    path = tmp_path / "criteria.toml"
    path.write_text("length = []\n")
    return path


def run(endpoint, candidate, suite, criteria, store, *more):
    sides = ["--baseline", f"{endpoint.url}#base", "--candidate", f"{endpoint.url}#{candidate}"]
    return trimtab(
        *("gate", "run", *sides, "--suite", suite, "--criteria", criteria, "--margin", "0.1", "--store", store, *more)
    )


def test_the_exit_code_is_the_decision_and_the_ledger_holds_the_proof(tmp_path, suite, criteria):
    store, report = tmp_path / "store", tmp_path / "out" / "pr.md"
    with serving(base=Model(), same=Model(), bad=Model(lost=0.4)) as endpoint:
        good = run(endpoint, "same", suite, criteria, store, "--report", report)
        bad = run(endpoint, "bad", suite, criteria, store, "--json")
    assert (good.returncode, bad.returncode) == (0, 1), good.stderr + bad.stderr
    assert "can certify a margin of" in good.stderr and "10 points need 81 at one look" in good.stderr
    assert "## Gate: ✅ promote" in good.stdout
    assert set(good.stdout.splitlines()) < set(report.read_text().splitlines())
    assert (tmp_path / "out" / "evidence.svg").exists()
    told = json.loads(bad.stdout)
    assert (told["decision"], len(told["entry"])) == ("reject", 64)
    assert msgspec.convert({name: held for name, held in told.items() if name != "entry"}, Verdict).n == told["n"]

    shown = trimtab("gate", "show", told["entry"][:10], "--store", store)
    assert shown.returncode == 1 and "reject" in shown.stdout
    assert json.loads(trimtab("gate", "show", "--store", store, "--json").stdout) == told
    verified = trimtab("ledger", "verify", "--store", store, "--head", told["entry"])
    assert (verified.returncode, "2 verdicts follow" in verified.stdout) == (0, True)
    listed = trimtab("ledger", "list", "--store", store)
    assert [line.split()[3] for line in listed.stdout.splitlines()] == ["promote", "reject"]
    flying = trimtab("gate", "portfolio", "--store", store)
    assert "0 of 2 candidates" in flying.stdout or "1 of 2 candidates" in flying.stdout

    file = store / "ledger.jsonl"
    held = file.read_bytes()
    file.write_bytes(held.replace(b'"promote"', b'"reject" ', 1))
    broken = trimtab("ledger", "verify", "--store", store)
    assert broken.returncode != 0 and "ledger.jsonl:1: this line was altered" in broken.stderr


def test_the_same_command_again_says_the_same_and_asks_nobody(tmp_path, suite, criteria):
    with serving(base=Model(), same=Model()) as endpoint:
        first = run(endpoint, "same", suite, criteria, tmp_path / "store", "--json")
        asked = len(endpoint.asked)
        again = run(endpoint, "same", suite, criteria, tmp_path / "store", "--json")
        assert json.loads(again.stdout) == json.loads(first.stdout)
        assert len(endpoint.asked) == asked
    assert trimtab("ledger", "verify", "--store", tmp_path / "store", "--json").stdout.startswith('{"entries":1')


def test_a_verdict_holds_until_something_changes(tmp_path, suite, criteria):
    with serving(base=Model(), same=Model(), other=Model()) as endpoint:
        assert run(endpoint, "same", suite, criteria, tmp_path / "store").returncode == 0
        words = ["gate", "check", "--store", tmp_path / "store", "--baseline", f"{endpoint.url}#base", "--candidate"]
        holds = trimtab(*words, f"{endpoint.url}#same")
        assert (holds.returncode, "holds: promote" in holds.stdout) == (0, True)
        other = trimtab(*words, f"{endpoint.url}#other")
        assert (other.returncode, "candidate is not the one" in other.stdout) == (2, True)
        (tmp_path / "prompt").write_text("Be brief.")
        prompted = trimtab(*words, f"{endpoint.url}#same", "--candidate-prompt", tmp_path / "prompt")
        assert (prompted.returncode, "does not hold any more" in prompted.stdout) == (2, True)
        endpoint.listed = {"same": {"root": "new weights"}}
        renewed = trimtab(*words, f"{endpoint.url}#same")
        assert (renewed.returncode, "model behind the candidate changed" in renewed.stdout) == (2, True)


def test_too_few_items_are_inconclusive_and_said_so_before(tmp_path, criteria):
    suite = scripted.suite(tmp_path / "small.jsonl", 12)
    with serving(base=Model(), same=Model()) as endpoint:
        done = run(endpoint, "same", suite, criteria, tmp_path / "store")
    assert done.returncode == 2
    assert "too few clusters for the margin" in done.stderr
    assert "inconclusive" in done.stdout


def test_results_made_elsewhere_are_compared(tmp_path):
    for name, wrong in (("base", ()), ("good", (3,)), ("bad", range(0, 400, 4))):
        lines = [json.dumps({"id": n, "score": int(n % 5 != 0 and n not in wrong)}) for n in range(400)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    words = ["gate", "compare", "--baseline", tmp_path / "base.jsonl", "--margin", "0.03", "--store", tmp_path]
    codes = [trimtab(*words, "--candidate", tmp_path / f"{name}.jsonl").returncode for name in ("good", "bad")]
    assert codes == [0, 1]
    again = trimtab(*words, "--candidate", tmp_path / "bad.jsonl")
    assert again.returncode == 1  # the same verdict, which is there already
    assert "2 verdicts follow" in trimtab("ledger", "verify", "--store", tmp_path).stdout


def test_a_judge_is_calibrated_into_a_file(tmp_path):
    suite = scripted.suite(tmp_path / "suite.jsonl", 5)
    labels = [
        {
            "id": n,
            "body": {"messages": []},
            "expected": "right",
            "answer": "right" if n % 2 else "wrong",
            "right": bool(n % 2),
        }
        for n in range(200)
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    out = tmp_path / "calibration.json"
    done = trimtab("gate", "calibrate", "--suite", suite, "--labels", tmp_path / "labels.jsonl", "--output", out)
    assert done.returncode == 0, done.stderr
    assert "sensitivity 100 of 100" in done.stdout
    assert json.loads(out.read_text())["overall"]["specificity"]["good"] == 100


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["run", "--baseline", "none.toml", "--candidate", "none.toml", "--suite", "arena:test:5"],
            "cannot read none.toml",
        ),
        (["run", "--baseline", "a", "--candidate", "b", "--suite", "none.jsonl"], "cannot read the suite"),
        (["run", "--baseline", "a", "--candidate", "b", "--suite", "arena:test:x"], "no suite of the arena"),
        (["run", "--baseline", "a", "--candidate", "b", "--suite", "arena:test:5", "--margin", "0"], "margin of 0"),
        (["run", "--baseline", "a", "--candidate", "b", "--suite", "arena:test:5", "--alpha", "2"], "alpha"),
        (["compare", "--baseline", "none.csv", "--candidate", "none.csv"], "cannot read the results"),
        (["show"], "no verdicts in"),
        (["portfolio", "--level", "7"], "outside (0, 1)"),
        (["run"], "required"),
        (["run", "--baseline"], "expected one argument"),
        (["show", "--no-such-option"], "unrecognized"),
    ],
)
def test_an_error_is_code_3_so_that_no_decision_is_read_into_it(tmp_path, words, told):
    done = trimtab("gate", *words, *(["--store", tmp_path] if words[-1] != "--baseline" else []))
    assert done.returncode == 3
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_worn_out_suite_is_refused(tmp_path, suite):
    criteria = tmp_path / "criteria.toml"
    criteria.write_text("length = []\nuses = 1\n")
    with serving(base=Model(), same=Model(), other=Model()) as endpoint:
        assert run(endpoint, "same", suite, criteria, tmp_path / "store").returncode == 0
        second = run(endpoint, "other", suite, criteria, tmp_path / "store")
        assert run(endpoint, "same", suite, criteria, tmp_path / "store").returncode == 0  # its own verdict is there
    assert second.returncode == 3
    assert "has been a gate 1 times" in second.stderr


def test_a_fault_of_our_own_is_no_rejection():
    """An exception that nobody expected ends Python with 1, which would say 'reject'."""
    code = "import argparse; from trimtab.cli import gate; gate._of('gateview', 'line')(argparse.Namespace())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "AttributeError" in done.stderr


def test_a_reader_that_hangs_up_does_not_change_the_decision(tmp_path):
    for name, wrong in (("base", ()), ("bad", range(0, 400, 4))):
        lines = [json.dumps({"id": n, "score": int(n not in wrong)}) for n in range(400)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    words = ["gate", "compare", "--baseline", "base.jsonl", "--candidate", "bad.jsonl", "--store", "."]
    command = f"{sys.executable} -m trimtab {' '.join(words)}"
    done = subprocess.run(
        ["bash", "-c", f"({command}; echo $? >code) | true; sleep 0.2; cat code"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout.strip() == "1", done.stderr
