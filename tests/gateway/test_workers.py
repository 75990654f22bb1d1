"""Several worker processes on one port: one store, one set of figures, one Deployment; any of them may die."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.conftest import CONFIG, Running, write_config
from tests.gateway.upstream import DONE, TEXT, FakeUpstream, Script
from trimtab.gateway.process import GatewayProcess
from trimtab.gateway.siblings import merged
from trimtab.store.erase import Erasure
from trimtab.store.errand import erased
from trimtab.store.traces import TraceReader

HELLO = {"model": "fake-model", "messages": [{"role": "user", "content": "hi"}]}
WORKERS = CONFIG.replace("[gateway]", "[gateway]\nworkers = 2")


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-gateway")
    with FakeUpstream() as upstream:
        process = GatewayProcess(write_config(tmp_path, upstream, WORKERS))
        with process:
            yield Running(upstream, process, tmp_path / "store")


def children(pid):
    """The recording process, then the workers, by age."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(true):
    give_up = time.monotonic() + 25
    while not (found := true()):
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.05)
    return found


def replaced(running, *pids):
    """All processes, once `pids` are gone and others are there for them."""
    now = set(children(running.process.pid))
    return now if len(now) == 3 and not now & set(pids) else None


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kept(store):
    """Ids of all recorded calls."""
    reader = TraceReader(store)
    return {call.id for summary in reader.traces(limit=1000) for call in reader.trace(summary.id).calls}


def asked(running, count):
    """Ids of `count` calls, each answered well."""
    answers = [running.ask(HELLO) for _ in range(count)]
    assert {status for status, _, _ in answers} == {200}
    return {headers["x-trimtab-request-id"] for _, headers, _ in answers}


def sample(running, name):
    found = re.search(rf"^{re.escape(name)} (\S+)$".encode(), running.get("/metrics")[2], re.MULTILINE)
    return float(found[1]) if found else 0.0


def written_down(pid):
    """How many calls the worker `pid` has left word of for the others."""
    for path in Path(tempfile.gettempdir()).glob(f"trimtab-*/metrics-{pid}"):
        found = re.search(r"^trimtab_call_duration_seconds_count (\d+)", path.read_text(), re.MULTILINE)
        return int(found[1]) if found else 0
    return 0


def test_all_is_recorded_and_counted_whoever_answers(served):
    ids = set()
    threads = [threading.Thread(target=lambda: ids.update(asked(served, 15))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(ids) == 60
    until(lambda: kept(served.store) == ids)
    until(lambda: sample(served, "trimtab_call_duration_seconds_count") == 60)
    until(lambda: sample(served, "trimtab_recorder_written_total") == 60)
    trace_id = served.ask(HELLO)[1]["x-trimtab-trace-id"]
    served.trace(trace_id)
    score = {"trace_id": trace_id, "name": "success", "value": 1, "source": "oracle"}
    assert served.ask(score, path="/v1/scores")[0] == 202
    until(lambda: [held.value for held in served.trace(trace_id).scores] == [1.0])


def test_a_dead_worker_is_replaced_and_its_figures_stay(served):
    ids = asked(served, 20)
    before = children(served.process.pid)
    assert len(before) == 3
    # What a worker has neither sent nor written down dies with it; under load it may be more than half a second.
    until(lambda: sum(map(written_down, before[1:])) == 20)
    until(lambda: kept(served.store) == ids)
    os.kill(before[1], signal.SIGKILL)
    ids |= asked(served, 10)
    after = until(lambda: replaced(served, before[1]))
    assert {before[0], before[2]} < after
    ids |= asked(served, 10)
    until(lambda: sample(served, "trimtab_call_duration_seconds_count") == 40)
    until(lambda: kept(served.store) == ids)


def test_a_dead_recording_process_costs_no_record(served):
    ids = asked(served, 10)
    until(lambda: kept(served.store) == ids)
    recorder = children(served.process.pid)[0]
    os.kill(recorder, signal.SIGKILL)
    ids |= asked(served, 20)
    until(lambda: kept(served.store) == ids)
    assert recorder not in children(served.process.pid)
    assert sample(served, "trimtab_recorder_failed_total") == 0


def test_the_recording_process_erases_while_the_workers_serve(served):
    ids = [served.ask({**HELLO, "user": user})[1]["x-trimtab-request-id"] for user in ("ada", "bob", "ada")]
    until(lambda: kept(served.store) == set(ids))
    assert erased(served.store, Erasure(user="ada")).calls == 2
    assert kept(served.store) == {ids[1]}
    ids += asked(served, 1)
    until(lambda: kept(served.store) == {ids[1], ids[3]})


def test_a_deployment_reaches_every_worker_and_those_that_come_later(served):
    before = json.loads(served.admin()[2])
    wanted = {**before, "name": "by-hand", "routes": {"only": "main"}}
    assert served.admin(wanted, method="PUT")[0] == 200

    def names():
        return {json.loads(served.admin()[2])["name"] for _ in range(8)}

    until(lambda: names() == {"by-hand"})
    workers = children(served.process.pid)[1:]
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    until(lambda: replaced(served, *workers))
    until(lambda: names() == {"by-hand"})


def test_a_changed_file_reaches_every_worker(served, tmp_path):
    path = tmp_path / "trimtab.toml"
    path.write_text(path.read_text().replace('alias = "renamed"', 'newer = "renamed"'))
    os.kill(served.process.pid, signal.SIGHUP)
    until(lambda: all(b'"newer"' in served.get("/v1/models")[2] for _ in range(8)))


def test_a_worker_that_starts_over_a_bad_file_serves_what_the_others_do(served, tmp_path):
    path = tmp_path / "trimtab.toml"
    path.write_text(path.read_text().replace('alias = "renamed"', 'newer = "renamed"'))
    until(lambda: all(b'"newer"' in served.get("/v1/models")[2] for _ in range(8)))
    path.write_text(path.read_text().replace("TRIMTAB_TEST_KEY", "TRIMTAB_ABSENT"))
    until(lambda: all(b"TRIMTAB_ABSENT" in served.get("/health/ready")[2] for _ in range(8)))
    workers = children(served.process.pid)[1:]
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    until(lambda: replaced(served, *workers))
    assert all(b'"newer"' in served.get("/v1/models")[2] for _ in range(8))
    until(lambda: b"TRIMTAB_ABSENT" in served.get("/health/ready")[2])


def test_sigterm_drains_all_workers_and_then_the_store_is_whole(served):
    served.upstream.script = Script(events=[*TEXT, DONE], pause_s=0.2)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(served.ask({**HELLO, "stream": True}))) for _ in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: len(served.upstream.seen) == 6)
    pids = children(served.process.pid)
    assert served.process.stop() == 0
    for thread in threads:
        thread.join(20)
    assert len(answers) == 6 and all(body.endswith(DONE) for _, _, body in answers)
    assert kept(served.store) == {headers["x-trimtab-request-id"] for _, headers, _ in answers}
    assert not [pid for pid in pids if is_alive(pid)]


def test_a_signal_to_all_processes_at_once_drains_too(served):
    """As a service manager stops a service."""
    served.upstream.script = Script(events=[*TEXT, DONE], pause_s=0.2)
    answers = []
    client = threading.Thread(target=lambda: answers.append(served.ask({**HELLO, "stream": True})))
    client.start()
    until(lambda: served.upstream.seen)
    os.killpg(served.process.pid, signal.SIGTERM)
    client.join(20)
    assert served.process.stop() == 0
    assert answers[0][2].endswith(DONE)
    assert kept(served.store) == {answers[0][1]["x-trimtab-request-id"]}


def test_a_second_signal_cuts_what_does_not_end(served):
    served.upstream.script = Script(events=TEXT[:3], end="hang")
    client = threading.Thread(target=lambda: served_cut(served))
    client.start()
    until(lambda: served.upstream.seen)
    time.sleep(0.3)
    for _ in range(2):
        os.kill(served.process.pid, signal.SIGTERM)
        time.sleep(1.0)
    assert served.process._process.wait(20) == 0
    client.join(20)
    reader = TraceReader(served.store)
    assert [summary.ends for summary in reader.traces()] == [{"cut": 1}]


def served_cut(served):
    with contextlib.suppress(http.client.HTTPException, OSError):
        served.ask({**HELLO, "stream": True})


def test_the_workers_die_with_the_supervisor_and_lose_nothing(served):
    ids = asked(served, 20)
    pids = children(served.process.pid)
    os.kill(served.process.pid, signal.SIGKILL)
    until(lambda: not [pid for pid in pids if is_alive(pid)])
    assert kept(served.store) == ids


def test_what_stops_a_start_is_one_line_and_its_own_exit_code(served, tmp_path, monkeypatch):
    command = [sys.executable, "-m", "trimtab", "serve", "--config", str(tmp_path / "trimtab.toml"), "--port", "0"]
    taken = subprocess.run([*command, "--workers", "3"], capture_output=True, text=True, timeout=60)
    assert (taken.returncode, taken.stderr.count("\n")) == (6, 1) and "has a writer already" in taken.stderr
    monkeypatch.delenv("TRIMTAB_TEST_KEY")
    (tmp_path / "trimtab.toml").write_text((tmp_path / "trimtab.toml").read_text().replace("/store", "/other"))
    keyless = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (keyless.returncode, keyless.stderr.count("\n")) == (2, 1) and "TRIMTAB_TEST_KEY" in keyless.stderr


COUNTS = st.dictionaries(st.sampled_from(['a="1"', 'a="2"', 'b="x y"']), st.integers(0, 10**6), min_size=1)


@given(st.lists(COUNTS, min_size=1, max_size=4), st.lists(COUNTS, max_size=3))
def test_pages_add_up_and_gauges_of_the_dead_do_not(running, ended):
    def page(counts):
        lines = ["# HELP n_total What.", "# TYPE n_total counter"]
        lines += [f"n_total{{{labels}}} {count}" for labels, count in counts.items()]
        return "\n".join([*lines, "# TYPE g gauge", f"g {sum(counts.values())}"]) + "\n"

    whole = merged(map(page, running), map(page, ended))
    for labels in {labels for counts in [*running, *ended] for labels in counts}:
        total = sum(counts.get(labels, 0) for counts in [*running, *ended])
        assert f"n_total{{{labels}}} {total:.12g}\n" in whole
    assert f"\ng {sum(sum(counts.values()) for counts in running):.12g}\n" in whole
    assert whole.count("# TYPE n_total counter") == 1
