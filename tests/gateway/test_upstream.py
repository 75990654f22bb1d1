"""Every way a model server fails, over real sockets: the client gets a clear error, the trace the right end."""

import asyncio
import json
import socket
import time
from urllib.parse import urlsplit

import pytest
import uvloop

from tests.gateway.upstream import DONE, TEXT, USAGE_CHUNK, Script, answer
from trimtab.endpoint import Endpoint
from trimtab.gateway import attribution, wire
from trimtab.gateway import pool as pool_module
from trimtab.gateway.chain import Notes, Request, UpstreamFailed
from trimtab.gateway.pool import address_of
from trimtab.gateway.upstream import Upstream
from trimtab.trace import EndState

POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
IN_BAND = b'data: {"error": {"message": "m", "code": "in_band"}}\n\n'
HELLO = {"model": "fake-model", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**HELLO, "stream": True}
HASTY = {**HELLO, "model": "hasty-model"}


def last_event(body):
    return body.strip().split(b"\n\n")[-1].removeprefix(b"data: ")


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_an_error_keeps_its_status_body_and_headers(gateway, status):
    body = b'{"error": {"message": "no luck", "type": "t", "param": null, "code": "c"}, "more": 1}'
    gateway.upstream.script = Script(status=status, body=body, headers={"Retry-After": "70", "x-request-id": "r1"})
    got, headers, content = gateway.ask(HELLO)
    assert (got, content) == (status, body)
    assert (headers["retry-after"], headers["x-request-id"]) == ("70", "r1")
    call, payload = gateway.call(headers)
    assert (call.end, call.status, call.error) == (EndState.UPSTREAM_ERROR, status, "no luck")
    assert payload.response is None


def test_an_error_in_another_shape_is_put_into_ours(gateway):
    gateway.upstream.script = Script(status=503, body=b"<html>busy</html>", headers={"Content-Type": "text/html"})
    status, headers, content = gateway.ask(STREAM)
    assert (status, headers["content-type"]) == (503, "application/json")
    assert json.loads(content)["error"]["code"] == "upstream_503"


def test_a_200_that_is_no_json_is_an_error(gateway):
    gateway.upstream.script = Script(body=b"<html>welcome</html>", headers={"Content-Type": "text/html"})
    status, headers, content = gateway.ask(HELLO)
    assert (status, json.loads(content)["error"]["code"]) == (502, "upstream_not_json")
    assert gateway.call(headers)[0].end is EndState.UPSTREAM_ERROR


def test_a_redirect_is_not_followed(gateway):
    gateway.upstream.script = Script(status=307, body=b"", headers={"Location": "http://127.0.0.1:9/"})
    status, headers, content = gateway.ask(HELLO)
    assert (status, json.loads(content)["error"]["code"]) == (502, "upstream_redirect")
    assert "location" not in headers


def test_a_plain_answer_to_a_streamed_request_passes(gateway):
    gateway.upstream.script = Script(body=answer())
    assert gateway.ask(STREAM)[2] == answer()


def test_connection_refused(gateway):
    status, headers, content = gateway.ask({**HELLO, "model": "dead-model"})
    assert (status, json.loads(content)["error"]["code"]) == (502, "upstream_unreachable")
    call, _ = gateway.call(headers)
    assert (call.end, call.status, call.endpoint) == (EndState.UPSTREAM_ERROR, 502, "dead")


def test_no_headers_in_time(gateway):
    gateway.upstream.script = Script(wait_s=5)
    status, headers, content = gateway.ask(HASTY)
    assert (status, json.loads(content)["error"]["code"]) == (504, "upstream_timeout")
    assert gateway.call(headers)[0].end is EndState.UPSTREAM_ERROR


@pytest.mark.parametrize(
    ("script", "end", "code"),
    [
        (Script(events=TEXT[:4], end="abort"), EndState.CUT, "stream_cut"),
        (Script(events=[*TEXT[:4], TEXT[4][:25]], end="abort"), EndState.CUT, "stream_cut"),
        (Script(events=TEXT[:4]), EndState.CUT, "stream_cut"),
        (Script(events=[*TEXT[:4], DONE]), EndState.CUT, "stream_cut"),
        (Script(events=TEXT[:4], end="hang"), EndState.STALLED, "stream_stalled"),
        (
            Script(events=[*TEXT[:4], IN_BAND, DONE]),
            EndState.UPSTREAM_ERROR,
            "in_band",
        ),
    ],
    ids=["abort", "half-event", "no-end", "done-without-finish", "stall", "error-event"],
)
def test_a_broken_stream_never_looks_whole(gateway, script, end, code):
    gateway.upstream.script = script
    _, headers, body = gateway.ask({**HASTY, "stream": True})
    assert body.startswith(b"".join(TEXT[:4]))
    assert b"[DONE]" not in body
    assert json.loads(last_event(body))["error"]["code"] == code
    call, payload = gateway.call(headers)
    assert call.end is end
    assert call.error
    assert payload.response["choices"][0]["message"]["content"] == "Hello, how "


def test_events_arrive_when_they_are_made_and_not_at_the_end(gateway):
    gateway.upstream.script = Script(events=[*TEXT[:-1], *TEXT[1:3] * 6, TEXT[-1], USAGE_CHUNK, DONE], pause_s=0.02)
    host, port = urlsplit(gateway.url).netloc.split(":")
    body = json.dumps(STREAM).encode()
    arrivals = []
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(POST % len(body) + body)
        content = b""
        while b"[DONE]" not in content:
            content += client.recv(65536)
            arrivals.append(time.monotonic())
    assert len(arrivals) > 5
    assert arrivals[-1] - arrivals[0] > 0.2


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_small_writes_leave_at_once_upstream(gateway, run):
    async def ask():
        upstream = Upstream()
        await upstream.open()
        body = json.dumps(HELLO).encode()
        endpoint = Endpoint(name="e", url=gateway.upstream.url)
        await upstream.send(Request(body, wire.head(body), (), endpoint, attribution.of([], None), Notes()))
        ((_, line),) = upstream.pool._idle[address_of(gateway.upstream.url)]
        option = line.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await upstream.close()
        return option

    assert run(ask())


def test_a_client_that_leaves_cancels_the_upstream_call(gateway):
    gateway.upstream.script = Script(events=TEXT[:3], end="hang")
    host, port = urlsplit(gateway.url).netloc.split(":")
    body = json.dumps({**STREAM, "user": "leaver"}).encode()
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(POST % len(body) + body)
        content = b""
        while b"Hello" not in content:
            content += client.recv(65536)
    assert gateway.upstream.seen[0].cancelled.wait(20)
    trace_id = content.split(b"x-trimtab-trace-id: ")[1][:32].decode()
    call = gateway.trace(trace_id).calls[0]
    assert (call.end, call.user) == (EndState.CLIENT_GONE, "leaver")


def test_a_client_that_leaves_before_the_answer_is_recorded_too(gateway):
    gateway.upstream.script = Script(wait_s=30)
    host, port = urlsplit(gateway.url).netloc.split(":")
    body = json.dumps(HELLO).encode()
    trace = "11111111111111111111111111111111"
    head = f"Host: x\r\nContent-Length: {len(body)}\r\ntraceparent: 00-{trace}-2222222222222222-01\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n" + head.encode() + body)
        while not gateway.upstream.seen:
            time.sleep(0.01)
    assert gateway.upstream.seen[0].cancelled.wait(20)
    assert gateway.trace(trace).calls[0].end is EndState.CLIENT_GONE


def test_the_upstreams_connection_is_used_again_after_a_stream(gateway):
    gateway.upstream.script = Script(events=[*TEXT, DONE], pause_s=0.02)
    for _ in range(8):
        gateway.ask(STREAM)
    # A client may ask again before the last stream's connection is free: then there are two or three, never eight.
    assert len({seen.peer for seen in gateway.upstream.seen}) <= 3


@pytest.mark.parametrize("rested", [True, False])
def test_a_line_that_the_server_gave_up_meanwhile_is_no_failure(monkeypatch, rested):
    monkeypatch.setattr(pool_module, "_SAFE_S", 0 if rested else 60)
    lines = 0

    async def serve(reader, writer):
        nonlocal lines
        lines += 1
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer()), answer()))
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def ask(upstream, url):
        body = json.dumps(HELLO).encode()
        endpoint = Endpoint(name="e", url=url)
        return await upstream.send(Request(body, wire.head(body), (), endpoint, attribution.of([], None), Notes()))

    async def go():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        upstream = Upstream()
        await upstream.open()
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        assert (await ask(upstream, url)).body == answer()
        if rested:
            assert (await ask(upstream, url)).body == answer()
        else:
            with pytest.raises(UpstreamFailed, match="the connection"):
                await ask(upstream, url)
        assert (lines, upstream.pool.taken) == (1 + rested, 0)
        await upstream.close()
        server.close()

    asyncio.run(asyncio.wait_for(go(), 20))
