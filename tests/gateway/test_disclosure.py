"""Keys sent through every way to fail, then looked for in all that was written."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tests.gateway.conftest import CONFIG, Running, write_config
from tests.gateway.upstream import DONE, TEXT, FakeUpstream, Script
from trimtab.endpoint import Endpoint
from trimtab.gateway.disclosure import LogFilter, keys_in, struck

# Of no vendor's shape, so that no pattern can find them.
CLIENTS = "marked-client-zq7"
OTHER = "marked-other-zq8"
GATEWAYS = "marked-gateway-zq9"
MARK = b"marked-"
MESSAGES = [{"role": "user", "content": "hi"}]


def echoes():
    """Model servers that give away in every place what they were sent."""

    def with_sent(make):
        def script(seen):
            sent = " ".join(f"{name}: {held}" for name, held in seen.headers.items())
            return make(sent)

        return script

    def error(text):
        return json.dumps({"error": {"message": f"bad key {text}", "type": "auth", "code": "invalid_api_key"}}).encode()

    def event(text):
        return b"data: " + error(text) + b"\n\n"

    html = {"Content-Type": "text/html"}
    yield from (
        with_sent(lambda sent, s=status: Script(body=error(sent), status=s)) for status in (400, 401, 403, 429, 500)
    )
    yield with_sent(lambda sent: Script(body=f"<html>{sent}</html>".encode(), headers=html))
    yield with_sent(lambda sent: Script(body=f"<html>{sent}</html>".encode(), headers=html, status=503))
    yield with_sent(lambda sent: Script(body=error(sent)))
    yield with_sent(lambda sent: Script(body=b"{}", headers={"X-Echo": sent, "Location": f"http://x/{sent[:3]}"}))
    yield with_sent(
        lambda sent: Script(body=b"", status=302, headers={"Location": "http://127.0.0.1:9/", "X-Echo": sent})
    )
    yield with_sent(lambda sent: Script(events=[event(sent)]))
    yield with_sent(lambda sent: Script(events=[*TEXT[:3], event(sent), DONE]))
    yield with_sent(lambda sent: Script(events=[*TEXT[:3], f"data: {sent}\n\n".encode()], end="abort"))


def ask(running, model, **more):
    headers = {"Authorization": f"Bearer {CLIENTS}", "x-api-key": OTHER, "Cookie": f"s={OTHER}"}
    body = {"model": model, "messages": MESSAGES, **more}
    return running.ask(body, headers, path=f"/v1/chat/completions?api_key={OTHER}")


def refused(running):
    """Requests that are refused before a model server is asked."""
    headers = {"Authorization": f"Bearer {CLIENTS}", "x-api-key": OTHER}
    packed = {**headers, "Content-Encoding": "gzip"}
    bad = [b"{", b"\xff", b"[]", b"{}", b'{"model":"nowhere"}', b"[" * 999, b" " * 1_000_001]
    answers = [running.ask(body, headers) for body in bad]
    answers.append(running.ask(b"{}", packed))
    answers.append(running.ask(b"{}", headers, "PUT", f"/admin/deployment?key={OTHER}"))
    answers.append(running.ask(b'{"name":1}', headers, path="/v1/scores"))
    answers.append(running.admin(b'{"name":"x","endpoints":[]}', headers, "PUT"))
    host, port = running.host.split(":")
    for sent in (f"GET / HTTP/1.1\r\nAuthorization: {CLIENTS}\rX: {OTHER}\r\n\r\n", f"{CLIENTS}\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(sent.encode())
            answers.append((400, {}, client.recv(65536)))
    return answers


@pytest.fixture
def running(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", GATEWAYS)
    with FakeUpstream() as upstream, (tmp_path / "said").open("wb") as said:
        text = CONFIG.replace("[gateway]", '[retry]\nattempts = 1\n[[steps]]\nlever = "nosy"\n[gateway]')
        config = write_config(tmp_path, upstream, text)
        # A step that breaks, and says what it saw.
        (tmp_path / "nosy_step.py").write_text(
            "def make(spec, folder):\n"
            "    async def step(request, call_next):\n"
            "        import os\n"
            "        raise ValueError(f\"{os.environ['TRIMTAB_TEST_KEY']} {dict(request.headers)}\")\n"
            "    return step\n"
        )
        about = tmp_path / "nosy-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nosy\nVersion: 1\n")
        (about / "entry_points.txt").write_text("[trimtab.levers]\nnosy = nosy_step\n")
        command = [sys.executable, "-m", "trimtab", "serve", "--config", str(config), "--port", "0", "--json"]
        paths = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=paths)
        told = json.loads(process.stdout.readline())
        try:
            yield Running(upstream, SimpleNamespace(**told), tmp_path / "store"), process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def test_no_key_is_in_anything_that_was_written(running, tmp_path):
    gateway, process = running
    echoed = 0
    for script in echoes():
        gateway.upstream.script = script
        for stream in (False, True):
            _, headers, body = ask(gateway, "keyed-model", stream=stream)
            assert MARK not in body + repr(headers).encode(), "the gateway's key reached a client"
            # Without a key of the gateway's, the client's own goes upstream, and what comes back is the client's.
            echoed += MARK in ask(gateway, "fake-model", stream=stream)[2]
    assert echoed, "the servers echo nothing: the test shows nothing"
    for model in ("dead-model", "hasty-model"):
        gateway.upstream.script = Script(wait_s=2.5)
        assert ask(gateway, model)[0] >= 500
    for status, headers, body in refused(gateway):
        assert status >= 400 and MARK not in body + repr(headers).encode()
    pages = [gateway.get(path)[2] for path in ("/metrics", "/health/ready", "/v1/models")] + [gateway.admin()[2]]
    assert not [page for page in pages if MARK in page]
    time.sleep(0.6)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    said = (tmp_path / "said").read_bytes() + process.stdout.read()
    assert b"nosy failed" in said and MARK not in said
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 10_000
    assert not [path.name for path in files if MARK in path.read_bytes()]


def test_keys_of_every_kind_are_known():
    headers = [(b"authorization", b"Basic abcdefgh"), (b"x-api-key", b"12345678"), (b"accept", b"x")]
    headers.append((b"cookie", b"a=qwertyui; b=asdfghjk"))
    text = "Basic abcdefgh, abcdefgh and 12345678, qwertyui or b=asdfghjk"
    assert struck(text, keys_in(headers)) == "***, *** and ***, *** or ***"
    assert struck("a short one", ["a", ""]) == "a short one"


def test_a_traceback_in_the_log_is_struck(monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", GATEWAYS)
    try:
        raise ValueError(GATEWAYS)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "failed with %s", (GATEWAYS,), sys.exc_info())
    LogFilter(lambda: [Endpoint(name="e", url="http://x", key_env="TRIMTAB_TEST_KEY")]).filter(record)
    assert MARK.decode() not in logging.Formatter().format(record)
