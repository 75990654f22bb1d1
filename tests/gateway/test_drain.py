"""How the serving process ends: what runs is finished or cut in time, and all of it is recorded."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from tests.gateway.conftest import CONFIG, Running, write_config
from tests.gateway.upstream import DONE, TEXT, FakeUpstream, Script
from trimtab.gateway.process import GatewayProcess

HELLO = {"model": "fake-model", "messages": [{"role": "user", "content": "hi"}], "stream": True}
TRACE = "7" * 32


def started(tmp_path, upstream, drain_s):
    return GatewayProcess(
        write_config(tmp_path, upstream, CONFIG.replace("[gateway]", f"[gateway]\ndrain_s = {drain_s}"))
    )


@pytest.fixture
def upstream(monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-gateway")
    with FakeUpstream() as upstream:
        yield upstream


class Streaming:
    """One streamed request on a connection of its own, read to its end in a thread."""

    def __init__(self, running):
        self.answer = b""
        self._running = running
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        until(lambda: b"Hello" in self.answer)

    def _read(self):
        host, port = self._running.host.split(":")
        body = json.dumps(HELLO).encode()
        head = f"Host: x\r\nContent-Length: {len(body)}\r\ntraceparent: 00-{TRACE}-2222222222222222-01\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=30) as client:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n" + head.encode() + body)
            while piece := client.recv(65536):
                self.answer += piece
                if b"\r\n0\r\n\r\n" in self.answer:
                    break

    def end(self):
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.answer


def until(true):
    give_up = time.monotonic() + 20
    while not true():
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.02)


def is_refused(host):
    name, port = host.split(":")
    try:
        socket.create_connection((name, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_stream_is_finished_while_nobody_new_is_let_in(upstream, tmp_path):
    upstream.script = Script(events=[*TEXT, DONE], pause_s=0.4)
    process = started(tmp_path, upstream, 60)
    process.start()
    running = Running(upstream, process, tmp_path / "store")
    stream = Streaming(running)
    os.kill(process.pid, signal.SIGTERM)
    until(lambda: is_refused(running.host))
    status, _, body = running.admin(path="/health/ready")
    assert status == 503 and b'"draining":true' in body
    assert running.admin(path="/health/live")[0] == 200
    assert DONE not in stream.answer, "the stream was to run on"
    assert process._process.wait(30) == 0
    assert DONE in stream.end()
    assert running.trace(TRACE).calls[0].end == "complete"
    process.stop()


@pytest.mark.parametrize(("drain_s", "signals"), [(1.0, 1), (60, 2)], ids=["late", "twice"])
def test_what_does_not_end_is_cut_and_recorded(upstream, tmp_path, drain_s, signals):
    upstream.script = Script(events=TEXT[:3], end="hang")
    process = started(tmp_path, upstream, drain_s)
    process.start()
    running = Running(upstream, process, tmp_path / "store")
    stream = Streaming(running)
    began = time.monotonic()
    for _ in range(signals):
        os.kill(process.pid, signal.SIGTERM)
        until(lambda: is_refused(running.host))
    assert process._process.wait(30) == 0
    assert time.monotonic() - began < 20, "a hanging stream lasts a minute"
    assert b'"code":"stream_cut"' in stream.end() and b"[DONE]" not in stream.answer
    assert running.trace(TRACE).calls[0].end == "cut"
    assert upstream.seen[0].cancelled.wait(10)
    process.stop()


def test_a_plain_request_that_does_not_end_gets_an_error(upstream, tmp_path):
    upstream.script = Script(body=b"{}", wait_s=30)
    process = started(tmp_path, upstream, 0.5)
    process.start()
    running = Running(upstream, process, tmp_path / "store")
    answers = []
    client = threading.Thread(target=lambda: answers.append(running.ask({**HELLO, "stream": False})))
    client.start()
    until(lambda: upstream.seen)
    assert process.stop() == 0
    client.join(20)
    status, headers, body = answers[0]
    assert (status, json.loads(body)["error"]["code"]) == (503, "stopping")
    assert running.call(headers)[0].end == "cut"


def test_an_ending_writes_nothing_to_the_log(upstream, tmp_path):
    """A traceback at each cut would bury what matters."""
    upstream.script = Script(events=TEXT[:3], end="hang")
    config = write_config(tmp_path, upstream, CONFIG.replace("[gateway]", "[gateway]\ndrain_s = 0.5"))
    command = [sys.executable, "-m", "trimtab", "serve", "--config", str(config), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    told = SimpleNamespace(**json.loads(process.stdout.readline()))
    stream = Streaming(Running(upstream, told, tmp_path / "store"))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    stream.end()


def test_an_idle_kept_connection_does_not_hold_the_ending_up(upstream, tmp_path):
    process = started(tmp_path, upstream, 60)
    process.start()
    host, port = Running(upstream, process, tmp_path).host.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - began < 30
