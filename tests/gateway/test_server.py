"""The serving process: starts or says why not, ends in good order, and loses at most half a second to kill -9."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.gateway.conftest import Running, write_config
from tests.gateway.upstream import DONE, TEXT, FakeUpstream, Script
from trimtab.errors import TrimtabError
from trimtab.gateway import server
from trimtab.gateway.process import GatewayProcess
from trimtab.store.traces import TraceReader

HELLO = {"model": "fake-model", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-gateway")
    with FakeUpstream() as upstream:
        yield write_config(tmp_path, upstream), upstream


def serve(path, *words):
    command = [sys.executable, "-m", "trimtab", "serve", "--config", str(path), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_a_port_in_use_is_one_line_and_no_store(config, tmp_path):
    path, _ = config
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = serve(path, "--port", str(taken.getsockname()[1]))
    assert ended.returncode == 4
    assert ended.stderr.count("\n") == 1 and "in use" in ended.stderr
    assert not (tmp_path / "store").exists()


def test_small_writes_leave_at_once_to_clients():
    with server.listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_wrong_key_in_the_config_is_one_line(config):
    path, _ = config
    path.write_text(path.read_text().replace("[gateway]", "[gateway]\nprot = 1"))
    ended = serve(path, "--port", "0")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and "prot" in ended.stderr


def test_a_missing_secret_is_named(config, monkeypatch):
    monkeypatch.delenv("TRIMTAB_TEST_KEY")
    ended = serve(config[0], "--port", "0")
    assert ended.returncode == 2
    assert "TRIMTAB_TEST_KEY" in ended.stderr


def test_a_second_gateway_on_one_store_is_refused(config):
    with GatewayProcess(config[0]), pytest.raises(TrimtabError, match=r"did not start: .*store"):
        GatewayProcess(config[0]).start()


def test_sigterm_finishes_what_runs_records_it_and_exits_0(config, tmp_path):
    path, upstream = config
    upstream.script = Script(events=[*TEXT, DONE], pause_s=0.1)
    process = GatewayProcess(path)
    process.start()
    running = Running(upstream, process, tmp_path / "store")
    answers = []
    client = threading.Thread(target=lambda: answers.append(running.ask({**HELLO, "stream": True})))
    client.start()
    while not upstream.seen:
        time.sleep(0.01)
    assert process.stop() == 0
    client.join(10)
    assert answers[0][2].endswith(DONE)
    assert running.call(answers[0][1])[0].end == "complete"


def test_ctrl_c_exits_0(config):
    process = GatewayProcess(config[0])
    process.start()
    os.kill(process.pid, signal.SIGINT)
    assert process.stop() == 0


def test_kill_9_loses_nothing_older_than_half_a_second(config, tmp_path):
    path, upstream = config
    process = GatewayProcess(path)
    process.start()
    running = Running(upstream, process, tmp_path / "store")
    answered = [running.ask(HELLO)[1]["x-trimtab-request-id"] for _ in range(40)]
    time.sleep(1.0)
    late = [running.ask(HELLO)[1]["x-trimtab-request-id"] for _ in range(5)]
    os.kill(process.pid, signal.SIGKILL)
    process.stop()
    traces = TraceReader(tmp_path / "store")
    kept = {call.id for summary in traces.traces(limit=100) for call in traces.trace(summary.id).calls}
    assert set(answered) <= kept <= set(answered + late)


def test_the_gateway_dies_with_its_parent(config):
    code = (
        "import sys, time; from pathlib import Path; from trimtab.gateway.process import GatewayProcess;"
        "g = GatewayProcess(Path(sys.argv[1])); g.start(); print(g.pid, g.url, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(config[0])], stdout=subprocess.PIPE, text=True)
    url = parent.stdout.readline().split()[1]
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    socket.create_connection((host, int(port)), timeout=5).close()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    give_up = time.monotonic() + 15
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError:
            break
        assert time.monotonic() < give_up
        time.sleep(0.1)


def test_the_gateway_imports_nothing_heavy():
    heavy = ("numpy", "openvino", "torch", "rich", "openai", "tokenizers", "transformers", "sqlite3", "starlette")
    code = f"import sys, trimtab.gateway.app; print([name for name in {heavy!r} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert ended.stdout.strip() == "[]", ended.stderr
