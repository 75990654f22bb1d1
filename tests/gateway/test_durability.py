"""The gateway before a disk that does not answer, and after kill -9: over real sockets, with the real store."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.gateway.conftest import Running
from tests.gateway.upstream import FakeUpstream
from trimtab.gateway.process import GatewayProcess
from trimtab.store import schema
from trimtab.store.traces import TraceReader

CONFIG = """
[store]
folder = "{store}"
queue = 3
[store.record_for]
"private" = "off"
"counted" = "metadata"
[[endpoints]]
name = "main"
url = "{url}"
[[endpoints]]
name = "fixed"
url = "{url}"
model = "fake-model"
[routes]
private = "main"
counted = "main"
"""
ASK = {"model": "fake-model", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def upstream():
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def start(tmp_path, upstream):
    """Start the gateway; again on the same store after it was killed."""
    path = tmp_path / "trimtab.toml"
    path.write_text(CONFIG.format(url=upstream.url, store=tmp_path / "store"))
    with contextlib.ExitStack() as stack:

        def run():
            return Running(upstream, stack.enter_context(GatewayProcess(path)), tmp_path / "store")

        yield run


def count(gateway, name):
    return int(re.search(rf"^trimtab_recorder_{name} (\d+)$", gateway.get("/metrics")[2].decode(), re.MULTILINE)[1])


def until(holds):
    give_up = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def ask(gateway, **more):
    status, headers, _ = gateway.ask({**ASK, **more})
    assert status == 200
    return headers["x-trimtab-request-id"]


def recorded(folder):
    return {call.id for trace in TraceReader(folder).scan() for call in trace.calls}


@contextlib.contextmanager
def locked(gateway):
    """Today's file in the hands of another program: every write of the gateway waits for it."""
    path = schema.day_files(gateway.store)[-1]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_answers_do_not_wait_for_the_disk_and_no_record_is_lost(start):
    gateway = start()
    ids = {ask(gateway)}
    until(lambda: recorded(gateway.store) == ids)
    with locked(gateway):
        ids |= {ask(gateway) for _ in range(30)}
        until(lambda: count(gateway, "spilled_total") >= 20)
        assert count(gateway, "waiting") <= 3 + 500
        assert len(recorded(gateway.store)) == 1
    until(lambda: recorded(gateway.store) == ids)
    assert count(gateway, "dropped_total") == count(gateway, "failed_total") == 0
    gateway.process.stop()
    assert not list(gateway.store.glob("spill-*"))


def test_kill_nine_loses_nothing_that_was_written_or_spilled(start):
    gateway = start()
    ids = {ask(gateway) for _ in range(5)}
    until(lambda: count(gateway, "written_total") == 5)
    before = count(gateway, "spilled_total")
    with locked(gateway):
        late = {ask(gateway) for _ in range(30)}
        until(lambda: count(gateway, "spilled_total") >= before + 10)
        spilled = count(gateway, "spilled_total") - before
        os.kill(gateway.process.pid, signal.SIGKILL)
    assert recorded(gateway.store) == ids
    again = start()
    until(lambda: len(recorded(again.store)) >= 5 + spilled)
    assert ids <= recorded(again.store) <= ids | late


def test_what_is_recorded_is_by_the_name_that_was_asked_for(start):
    gateway = start()
    private, counted, full = (ask(gateway, model=model) for model in ("private", "counted", "fake-model"))
    until(lambda: recorded(gateway.store) >= {counted, full})
    gateway.process.stop()
    assert recorded(gateway.store) == {counted, full}
    bodies = {name for trace in TraceReader(gateway.store).scan() for name in trace.payloads}
    assert bodies == {full} and private not in bodies


def test_erasing_while_the_gateway_runs_leaves_no_byte_and_loses_no_other(start):
    gateway = start()
    secret = {**ASK, "messages": [{"role": "user", "content": "Ada lives at Lovelace Street 7"}]}
    others = {ask(gateway) for _ in range(3)}
    for _ in range(3):
        gateway.ask(secret, {"x-trimtab-user": "ada@example.org"})
    until(lambda: len(recorded(gateway.store)) == 6)
    assert in_files(gateway.store, b"Lovelace Street 7")
    command = [
        sys.executable,
        "-m",
        "trimtab",
        "traces",
        "erase",
        "--user",
        "ada@example.org",
        "--yes",
        "--store",
        gateway.store,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and "erased 3 traces: 3 calls" in done.stdout
    assert not in_files(gateway.store, b"Lovelace Street 7") and not in_files(gateway.store, b"ada@example")
    assert recorded(gateway.store) == others
    later = ask(gateway)
    until(lambda: recorded(gateway.store) == {*others, later})


def in_files(folder, needle):
    return [path.name for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]
