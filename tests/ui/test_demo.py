"""The demo as a user runs it: to the end, kept up, and stopped half-way."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.store.ledger import Ledger
from trimtab.store.traces import TraceReader

DEMO = [sys.executable, "-m", "trimtab", "demo"]


def children(marker: str) -> list[int]:
    """Processes whose environment carries `marker`: everything the demo started, however deep."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def interruptible() -> None:
    """A child of a shell's background job would ignore Ctrl-C; a user's does not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever the test finds, the demo does not outlive it."""
    try:
        yield
    finally:
        process.terminate()


def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"TRIMTAB_TEST_MARK": str(tmp_path)}


@pytest.mark.engine
def test_runs_to_the_end_and_every_call_is_recorded_and_priced(tmp_path: Path) -> None:
    command = [*DEMO, "--sessions", "6", "--speed", "0", "--store", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    audit = json.loads(done.stdout)
    (folder,) = tmp_path.iterdir()
    traces = list(TraceReader(folder).scan())
    assert len(traces) == 6
    calls = [call for trace in traces for call in trace.calls]
    assert audit["totals"]["calls"] == len(calls) >= 6
    assert all(call.cost_nanodollars and call.usage.output_tokens and call.end == "complete" for call in calls)
    assert all(call.workflow == "dealership" and not call.derived for call in calls)
    assert all([score.name for score in trace.scores] == ["success"] for trace in traces)
    assert not children(str(tmp_path))


@pytest.mark.engine
def test_a_lever_is_estimated_built_gated_rolled_out_and_counted_alike(tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    criteria = tmp_path / "criteria.toml"
    criteria.write_text("length = []\n")  # a hundred clusters more
    words = ["--levers", "cache", "--margin", "0.4", "--criteria", str(criteria), "--option", "cache.alpha=0.05"]
    command = [*DEMO, "--sessions", "30", "--speed", "0", "--store", str(tmp_path / "demo"), "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["levers"] == {"cache": "full"}
    assert len({each["hits"] for each in told["counted"]}) == 1
    (folder,) = (tmp_path / "demo").iterdir()
    kinds = [entry.kind for entry in Ledger(folder).entries()]
    assert kinds[0] == "estimate"
    assert kinds[-1] == "saving"
    stages = [entry.body.get("stage") for entry in Ledger(folder).entries("rollout")]
    assert [stage for stage in stages if stage] == ["shadow", "canary", "full", "ended"]
    steps = tomllib.loads((folder / "trimtab.toml").read_text())["steps"]
    assert [(step["lever"], step["options"]) for step in steps] == [("cache", {"alpha": 0.05})]
    assert not children(str(tmp_path))


@pytest.mark.engine
def test_the_chain_goes_from_the_teacher_to_a_small_model_in_fewer_bits_with_a_drafter(tmp_path: Path) -> None:
    """Each model that a lever made is served, gated against what served before, and rolled out; the money agrees."""
    pytest.importorskip("torch")
    criteria = tmp_path / "criteria.toml"
    # Enough clusters that a session lost by chance does not leave it open; it stops long before.
    criteria.write_text("length = []\ncap = 200\n")
    words = ["--levers", "--margin", "0.4", "--criteria", str(criteria), "--option", "small_model.steps={sft=2}"]
    command = [*DEMO, "--sessions", "30", "--speed", "0", "--store", str(tmp_path / "demo"), "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=560, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["levers"] == {"small_model": "full", "quantization": "full", "speculation": "full"}
    assert [row["lever"] for row in told["rows"]] == ["as it was", *told["levers"]]
    first, *others = told["rows"]
    assert first["nanodollars"] == 0
    assert all(row["nanodollars"] > 0 and row["sessions"] >= 15 for row in others)
    assert others[0]["cost_nanodollars"] < 0.2 * first["cost_nanodollars"], "at gpt-4o-mini's price, not gpt-4o's"
    (saved,) = {round(each["nanodollars"]) for each in told["counted"]}
    assert saved == sum(row["nanodollars"] for row in told["rows"])
    (folder,) = (tmp_path / "demo").iterdir()
    verdicts = [entry.body["decision"] for entry in Ledger(folder).entries("verdict")]
    assert verdicts[:1] == ["promote"]
    assert len(verdicts) >= 3
    serving = tomllib.loads((folder / "trimtab.toml").read_text())["endpoints"]
    assert [each["name"] for each in serving] == ["engine", "engine-before"]
    assert re.fullmatch(r"small-int8-spec-[0-9a-f]{8}", serving[0]["model"])
    assert not children(str(tmp_path))


def test_a_lever_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    for words, said in (("--levers nowhere", "no lever 'nowhere'"), ("--levers cache --option alpha=1", "LEVER.NAME")):
        command = [*DEMO, *words.split(), "--store", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert said in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.engine
def test_keep_prints_a_curl_and_an_sdk_snippet_that_work(tmp_path: Path) -> None:
    command = [*DEMO, "--sessions", "1", "--speed", "0", "--store", str(tmp_path), "--keep"]
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment(tmp_path), preexec_fn=interruptible
        ) as process,
        ended(process),
    ):
        assert process.stdout is not None
        text = ""
        while "print(answer" not in text:
            line = process.stdout.readline()
            assert line, text
            text += line
        curl = re.search(r"^curl .*?'$", text, re.S | re.M)
        snippet = text[text.index("from openai") :]
        assert curl
        answer = subprocess.run(["bash", "-c", curl[0]], capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(answer.stdout)["choices"][0]["message"]["role"] == "assistant"
        sdk = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=60, check=True)
        assert "ChatCompletionMessage" in sdk.stdout
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert not children(str(tmp_path))


@pytest.mark.engine
def test_ctrl_c_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [*DEMO, "--sessions", "400", "--speed", "0", "--store", str(tmp_path)]
    with (
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(tmp_path),
            preexec_fn=interruptible,
        ) as process,
        ended(process),
    ):
        until = time.monotonic() + 120
        while not list(tmp_path.glob("*/calls-*")) and time.monotonic() < until:
            time.sleep(0.2)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        said = process.stdout.read() if process.stdout else ""
    assert "Traceback" not in said
    assert "trimtab: stopped" in said
    assert not children(str(tmp_path))
    (folder,) = tmp_path.iterdir()
    assert sum(summary.calls for summary in TraceReader(folder).traces(limit=1000)) > 0


def test_an_unknown_price_class_is_refused_before_anything_starts(tmp_path: Path) -> None:
    command = [*DEMO, "--price", "no-such-model", "--store", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no list price for 'no-such-model'" in done.stderr
    assert not list(tmp_path.iterdir())
