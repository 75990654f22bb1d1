"""A changed configuration file: swapped in under load, refused by line and key, or named as waiting for a restart."""

import asyncio
import json
import os
import signal
import threading
import time

import pytest

from tests.gateway.conftest import Running, write_config
from tests.gateway.test_chain import Tail
from tests.gateway.upstream import DONE, TEXT, FakeUpstream, Script
from trimtab import config
from trimtab.gateway.live import Live
from trimtab.gateway.metrics import Meter
from trimtab.gateway.process import GatewayProcess
from trimtab.gateway.reload import Reloader, settled

HELLO = {"model": "fake-model", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-gateway")
    with FakeUpstream() as upstream:
        path = write_config(tmp_path, upstream)
        with GatewayProcess(path) as process:
            yield Running(upstream, process, tmp_path / "store"), path, process


def until(true):
    give_up = time.monotonic() + 20
    while not (found := true()):
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.05)
    return found


def told(gateway):
    status, _, body = gateway.get("/health/ready")
    assert status == 200, "what is served is as good as before"
    return json.loads(body)["config"]


def test_a_changed_file_is_swapped_in_and_what_runs_ends_as_it_began(served):
    gateway, path, _process = served
    gateway.upstream.script = Script(events=[*TEXT, DONE], pause_s=0.4)
    streams, answers, stop = [], [], threading.Event()
    stream = threading.Thread(target=lambda: streams.append(gateway.ask({**HELLO, "stream": True})))
    stream.start()
    until(lambda: gateway.upstream.seen)

    def load():
        while not stop.is_set():
            status, headers, _ = gateway.ask({**HELLO, "model": "keyed-model"})
            answers.append((status, headers.get("x-trimtab-endpoint")))

    gateway.upstream.script = lambda seen: Script(body=b'{"choices":[],"model":"m"}', wait_s=0.01)
    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        path.write_text(path.read_text().replace('name = "keyed"', 'name = "swapped"'))
        until(lambda: answers and answers[-1][1] == "swapped")
        assert not streams, "the swap was to come while the stream ran"
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    stream.join(20)
    assert streams[0][0] == 200 and streams[0][2].endswith(DONE)
    assert {status for status, _ in answers} == {200}
    assert {name for _, name in answers} == {"keyed", "swapped"}
    state = told(gateway)
    assert (state["loads"], state["error"], state["restart_needed"]) == (1, "", [])
    assert b'trimtab_config_loads_total{result="swapped"} 1' in gateway.get("/metrics")[2]


def test_a_bad_file_is_refused_by_line_and_key_until_it_is_good(served):
    gateway, path, _process = served
    good = path.read_text()
    line = good.splitlines().index("max_body_bytes = 1000000") + 1
    path.write_text(good.replace("max_body_bytes = 1000000", 'max_body_bytes = "much"'))
    error = until(lambda: told(gateway)["error"])
    assert f"{path}:{line}: " in error and "gateway.max_body_bytes" in error
    assert gateway.ask(HELLO)[0] == 200
    page = gateway.get("/metrics")[2]
    assert b'trimtab_config_loads_total{result="refused"} 1' in page and b"trimtab_config_refused 1" in page
    path.unlink()
    until(lambda: "cannot read" in told(gateway)["error"])
    assert gateway.ask(HELLO)[0] == 200
    path.write_text(good)
    until(lambda: not told(gateway)["error"])
    assert b"trimtab_config_refused 0" in gateway.get("/metrics")[2]


def test_a_limit_changes_at_once_and_a_port_waits_for_a_restart(served):
    gateway, path, process = served
    assert gateway.ask({**HELLO, "n": 5})[0] == 200
    text = path.read_text().replace("max_body_bytes = 1000000", "max_body_bytes = 1000\nmax_n = 2\nport = 9")
    path.write_text(text.replace('folder = "', 'queue = 5\nfolder = "'))
    os.kill(process.pid, signal.SIGHUP)
    until(lambda: told(gateway)["restart_needed"] == ["gateway.port", "store.queue"])
    assert gateway.ask({**HELLO, "n": 5})[0] == 400
    assert gateway.ask({**HELLO, "user": "x" * 2000})[0] == 413


def test_what_is_recorded_changes_at_once(served):
    gateway, path, _process = served
    before = gateway.ask(HELLO)[1]
    path.write_text(path.read_text().replace('folder = "', 'record_for = { "fake-model" = "off" }\nfolder = "'))
    until(lambda: told(gateway)["loads"] == 1)
    assert told(gateway)["restart_needed"] == []
    gateway.ask(HELLO)
    last = gateway.ask({**HELLO, "model": "alias"})[1]
    gateway.call(last)
    page = gateway.get("/metrics")[2]
    assert gateway.call(before)[0] and b"trimtab_recorder_written_total 2" in page


def test_a_deployment_put_by_hand_outlives_a_change_of_prices(served):
    gateway, path, _process = served
    before = json.loads(gateway.admin()[2])
    assert gateway.admin({**before, "name": "by-hand"}, method="PUT")[0] == 200
    path.write_text(path.read_text().replace('version = "test-1"', 'version = "test-2"'))
    until(lambda: told(gateway)["loads"] == 1)
    assert json.loads(gateway.admin()[2])["name"] == "by-hand"
    assert gateway.call(gateway.ask(HELLO)[1])[0].price_table == "test-2"
    path.write_text(path.read_text().replace('alias = "renamed"', 'other = "renamed"'))
    until(lambda: json.loads(gateway.admin()[2])["name"] == "config")
    assert b"other" in gateway.get("/v1/models")[2]


@pytest.fixture
def watched(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-gateway")
    with FakeUpstream() as upstream:
        path = write_config(tmp_path, upstream)
    settings = config.read(path)
    live = Live(settings.deployment(), settings.price_table(), Tail(), tmp_path / "store")
    return path, live, Reloader(path, settings, live, Meter())


def test_what_is_not_written_to_its_end_is_not_taken(watched):
    path, _live, reloader = watched

    async def write():
        await reloader.look()
        await reloader.look()
        for size in (1, 2):
            path.write_text(path.read_text() + f"# {'x' * size}\n[routes")
            await reloader.look()
            assert not reloader.state.error, "it may still be growing"
        await reloader.look()

    asyncio.run(write())
    assert "not valid TOML" in reloader.state.error


def test_a_file_that_was_only_touched_changes_nothing(watched):
    path, live, reloader = watched
    before = live.serving

    async def touch():
        for _ in range(2):
            os.utime(path, ns=(time.time_ns(), time.time_ns() + 1))
            await reloader.look()
            await reloader.look()

    asyncio.run(touch())
    assert live.serving is before and reloader.state.loads == 0
    asyncio.run(reloader.look(asked=True))
    assert live.serving is not before, "who asks wants the steps loaded anew"


def test_a_worker_that_starts_later_keeps_what_needs_a_restart_as_the_others_have_it(watched):
    path, _, _ = watched
    started = config.read(path)
    text = path.read_text().replace("max_body_bytes = 1000000", "max_body_bytes = 5\nport = 9\nworkers = 7")
    path.write_text(text.replace('folder = "', 'folder = "/else').replace("alias", "other"))
    now = settled(started, config.read(path))
    assert (now.gateway.max_body_bytes, now.gateway.port, now.gateway.workers) == (5, 8400, 1)
    assert now.store == started.store
    assert now.routes == {"other": "renamed"}


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("TRIMTAB_TEST_KEY", "TRIMTAB_ABSENT", "TRIMTAB_ABSENT"),
        ("[routes]", '[[steps]]\nlever = "nowhere"\n[routes]', "nowhere"),
        ("http://127.0.0.1:9/v1", "ftp://x", "ftp://x"),
    ],
)
def test_what_only_serving_shows_is_refused_in_one_line_too(watched, caplog, old, new, word):
    path, live, reloader = watched
    before = live.serving
    path.write_text(path.read_text().replace(old, new))
    asyncio.run(reloader.look(asked=True))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if word in text)
    assert live.serving is before
    assert f"{path}:{line}: " in reloader.state.error and word in reloader.state.error
    assert [record.getMessage().count("\n") for record in caplog.records] == [0]
    assert word in caplog.text
