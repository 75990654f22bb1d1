"""Files and batches: any method, bodies as they come and go, never held whole."""

import http.client
import json
import socket
import time
from pathlib import Path

import pytest

from tests.gateway.conftest import Running, write_config
from tests.gateway.dialects.conftest import CONFIG
from tests.gateway.upstream import FakeUpstream, Script
from trimtab.gateway.process import GatewayProcess
from trimtab.trace import EndState


def test_a_file_is_sent_and_fetched_byte_for_byte(gateway):
    sent = b"--x\r\nContent-Disposition: form-data\r\n\r\n\x00\xff\r\n--x--"
    gateway.upstream.script = Script(body=b"\x00\x01 not json", headers={"Content-Type": "application/octet-stream"})
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": "Bearer sk-client"}
    status, answered, content = gateway.ask(sent, headers, path="/v1/files?purpose=batch%20a")
    assert (status, content, answered["content-type"]) == (200, b"\x00\x01 not json", "application/octet-stream")
    seen = gateway.upstream.seen[0]
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/files?purpose=batch%20a", sent)
    assert (seen.headers["Content-Type"], seen.headers["Authorization"]) == (
        headers["Content-Type"],
        "Bearer sk-client",
    )
    call, payload = gateway.call(answered)
    assert (call.end, call.operation, call.endpoint, payload) == (EndState.COMPLETE, "files", "chat", None)
    assert call.cost_nanodollars is None


@pytest.mark.parametrize(
    ("method", "path", "endpoint"),
    [
        ("GET", "/v1/files/file-1/content", "chat"),
        ("DELETE", "/v1/files/a%2Fb", "chat"),
        ("POST", "/v1/batches/b1/cancel", "chat"),
        ("GET", "/v1/responses/resp_1?stream=false", "gpt"),
        ("GET", "/v1/messages/batches/b1/results", "claude"),
        ("PATCH", "/v1/batches", "chat"),
    ],
)
def test_any_method_below_the_paths(gateway, method, path, endpoint):
    gateway.upstream.script = Script(body=b'{"a" :1}')
    status, headers, content = gateway.ask(b"", method=method, path=path)
    assert (status, content, headers["x-trimtab-endpoint"]) == (200, b'{"a" :1}', endpoint)
    assert (gateway.upstream.seen[0].method, gateway.upstream.seen[0].path) == (method, path)


def test_a_body_without_a_type_gets_none(gateway):
    gateway.upstream.script = Script(body=b"{}")
    connection = http.client.HTTPConnection(gateway.host, timeout=20)
    connection.request("DELETE", "/v1/files/f1")
    assert connection.getresponse().status == 200
    connection.close()
    assert "Content-Type" not in gateway.upstream.seen[0].headers


def test_errors_and_streams_come_as_they_are(gateway):
    gateway.upstream.script = Script(status=418, body=b"teapot")
    status, headers, content = gateway.get("/v1/batches/b1")
    assert (status, content) == (418, b"teapot")
    assert gateway.call(headers)[0].end is EndState.UPSTREAM_ERROR
    gateway.upstream.script = Script(events=[b"data: 1\n\n", b"data: 2\n\n"])
    assert gateway.get("/v1/responses/resp_1?stream=true")[2] == b"data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize(
    "path", ["/v1/files/../models", "/v1/files/%2e%2e/models", "/v1/files/./x", "/v1/files/a%2F..%2Fb"]
)
def test_a_path_that_leads_out_is_refused(gateway, path):
    connection = http.client.HTTPConnection(gateway.host, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["code"]) == (400, "bad_path")
    connection.close()
    assert not gateway.upstream.seen


def test_a_neighbour_of_the_paths_is_not_found(gateway):
    assert gateway.get("/v1/filesystem")[0] == 404


def test_a_cut_answer_does_not_look_whole(gateway):
    gateway.upstream.script = Script(events=[b"half"], end="abort", pause_s=0.05)
    with pytest.raises(http.client.IncompleteRead):
        gateway.get("/v1/files/f1/content")


def test_a_large_file_is_not_held_whole(gateway):
    size = 48 * 2**20
    gateway.upstream.script = lambda seen: Script(body=seen.body[:10] + str(len(seen.body)).encode())
    before = peak_kb(gateway)
    content = gateway.ask(b"0123456789" + b"x" * size, path="/v1/files")[2]
    assert content == b"0123456789" + str(size + 10).encode()
    assert peak_kb(gateway) - before < size / 2048, "the gateway's memory grew by half the file or more"


def peak_kb(gateway):
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def test_a_client_that_leaves_ends_the_upstream_call(gateway):
    gateway.upstream.script = Script(wait_s=30)
    host, _, port = gateway.host.partition(":")
    trace = "33333333333333333333333333333333"
    with socket.create_connection((host, int(port)), timeout=10) as client:
        head = f"GET /v1/files/f1 HTTP/1.1\r\nHost: x\r\ntraceparent: 00-{trace}-2222222222222222-01\r\n\r\n"
        client.sendall(head.encode())
        while not gateway.upstream.seen:
            time.sleep(0.01)
    assert gateway.upstream.seen[0].cancelled.wait(20)
    assert gateway.trace(trace).calls[0].end is EndState.CLIENT_GONE


def test_the_endpoint_that_the_configuration_names_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-x")
    with FakeUpstream() as first, FakeUpstream() as named:
        text = CONFIG.replace("[routes]", '[gateway]\npassthrough = "gpt"\n[routes]')
        text = text.replace('name = "gpt", url = "{url}"', f'name = "gpt", url = "{named.url}"')
        first.script = named.script = Script(body=b"{}")
        with GatewayProcess(write_config(tmp_path, first, text)) as process:
            running = Running(named, process, tmp_path / "store")
            assert running.get("/v1/files")[1]["x-trimtab-endpoint"] == "gpt"
            assert running.get("/v1/messages/batches/b1")[1]["x-trimtab-endpoint"] == "claude"
    assert [len(one.seen) for one in (first, named)] == [1, 1]
