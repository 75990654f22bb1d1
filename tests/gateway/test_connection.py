"""Hostile clients over real sockets: each gets one clear JSON error in time, and the next client is served."""

import gzip
import json
import re
import select
import socket
import time

import pytest

from tests.gateway.conftest import CONFIG, Running, running, write_config
from tests.gateway.faults import Served
from tests.gateway.upstream import FakeUpstream, Script, answer, usual
from trimtab.gateway.process import GatewayProcess

HELLO = b'{"model":"fake-model","messages":[{"role":"user","content":"hi"}]}'
LIMITS = "[gateway]\nmax_header_bytes = 8192\nheader_s = 1.0\nbody_s = 1.0\nunread_s = 1.0\nmax_n = 16"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    with running(folder, CONFIG.replace("[gateway]", LIMITS)) as pair:
        yield pair


@pytest.fixture
def gateway(pair):
    pair.upstream.script = usual
    pair.upstream.seen.clear()
    yield pair
    pair.upstream.script = usual
    assert pair.ask(HELLO)[0] == 200, "the next client is not served"


def post(body=HELLO, *lines, length=None):
    """A request as bytes; `length` may lie."""
    head = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: x",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    return "\r\n".join([*head, *lines]).encode("latin-1") + b"\r\n\r\n" + body


class Client:
    """A bare socket."""

    def __init__(self, gateway):
        host, port = gateway.host.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=15)

    def send(self, data):
        self.socket.sendall(data)
        return self

    def rest(self):
        """All until the gateway closes."""
        pieces = []
        while piece := self.socket.recv(65536):
            pieces.append(piece)
        self.socket.close()
        return b"".join(pieces)

    def refusal(self):
        """(status, code) of an answer that is one JSON error and nothing else, before the end of the connection."""
        head, _, body = self.rest().partition(b"\r\n\r\n")
        error = json.loads(body)["error"]
        assert set(error) == {"message", "type", "param", "code"} and "\n" not in error["message"]
        assert b"content-type: application/json" in head
        return int(head.split()[1]), error["code"]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (post(HELLO, "X-Big: " + "a" * 9000), (431, "headers_too_large")),
        (post(HELLO, *(f"X-{number}: {'a' * 50}" for number in range(300))), (431, "headers_too_large")),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (431, "headers_too_large")),
        (post(HELLO, "X-One: a\rX-Two: b"), (400, "bad_http")),
        (post(HELLO, "X-One: a\nX-Two: b").replace(b"\r\nX-One", b"\r\nX-\0One"), (400, "bad_http")),
        (post(HELLO, "X-One: a\0b"), (400, "bad_http")),
        (post(HELLO, "X One: a"), (400, "bad_http")),
        (post(HELLO, "Transfer-Encoding: chunked"), (400, "bad_http")),
        (post(HELLO, "Content-Length: 5"), (400, "bad_http")),
        (post(HELLO, length="-1"), (400, "bad_http")),
        (post(HELLO, length="9" * 30), (400, "bad_http")),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400, "bad_http")),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, "bad_http")),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", (400, "bad_http")),
        (b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", (400, "bad_http")),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", (400, "bad_http")),
    ],
)
def test_what_is_no_request_is_refused_and_goes_nowhere(gateway, sent, expected):
    assert Client(gateway).send(sent).refusal() == expected
    assert not gateway.upstream.seen


def test_a_header_that_never_ends_is_stopped(gateway):
    client = Client(gateway).send(b"POST /v1/chat/completions HTTP/1.1\r\nX-Big: ")
    with pytest.raises(OSError, match=r"reset|[Bb]roken"):
        for _ in range(1000):
            client.send(b"a" * 65536)
            time.sleep(0.002)


def test_a_trailer_that_never_ends_is_stopped_and_no_trailer_is_a_header(gateway):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    chunks = b"%x\r\n%s\r\n0\r\n" % (len(HELLO), HELLO)
    trailer = b"X-Trimtab-User: late\r\nContent-Encoding: gzip\r\n\r\n"
    answer = Client(gateway).send(head + b"Connection: close\r\n\r\n" + chunks + trailer).rest()
    assert answer.startswith(b"HTTP/1.1 200")
    gateway.upstream.seen.clear()
    client = Client(gateway).send(head + b"\r\n" + chunks + b"X-Big: ")
    with pytest.raises(OSError, match=r"reset|[Bb]roken"):
        for _ in range(1000):
            client.send(b"a" * 65536)
            time.sleep(0.001)
    assert not gateway.upstream.seen


@pytest.mark.parametrize(
    ("body", "lines", "expected"),
    [
        (gzip.compress(b"a" * 10**7), ["Content-Encoding: gzip"], (415, "unsupported_encoding")),
        (HELLO.replace(b"hi", b"\xff\xfe"), [], (400, "invalid_utf8")),
        (HELLO.replace(b'"hi"', b"[" * 100_000 + b"]" * 100_000), [], (400, "nested_too_deeply")),
        (HELLO.replace(b'"hi"', b"[" * 100_000), [], (400, "nested_too_deeply")),
        (HELLO.replace(b'"hi"', b'{"a":' * 200 + b"1" + b"}" * 200), [], (400, "nested_too_deeply")),
        (HELLO[:-1] + b',"n":1000000}', [], (400, "too_many_choices")),
        (HELLO[:-1] + b',"n":1e99}', [], (400, "too_many_choices")),
        (HELLO[:-1] + b',"n":' + b"9" * 5000 + b"}", [], (400, None)),
    ],
)
def test_a_body_that_would_do_harm_is_refused_and_goes_nowhere(gateway, body, lines, expected):
    status, code = Client(gateway).send(post(body, "Connection: close", *lines)).refusal()
    assert (status, code) == expected or (expected[1] is None and status == 400)
    assert not gateway.upstream.seen


def test_a_body_that_is_too_large_is_refused_before_it_is_read(gateway):
    status, _, body = gateway.ask(HELLO + b" " * 1_000_000)
    assert (status, json.loads(body)["error"]["code"]) == (413, "body_too_large")
    assert not gateway.upstream.seen


@pytest.mark.parametrize("path", ["/v1/scores", "/v1/chat/completions"])
def test_every_path_with_a_body_has_the_guard(gateway, path):
    deep = b'{"trace_id":"t","name":"n","value":1,"x":' + b"[" * 500 + b"]" * 500 + b"}"
    assert json.loads(gateway.ask(deep, path=path)[2])["error"]["code"] == "nested_too_deeply"
    packed = gateway.ask(HELLO, {"Content-Encoding": "deflate"}, path=path)
    assert packed[0] == 415


@pytest.mark.parametrize("begun", [b"POST /v1/chat", b"GET /health HTTP/1.1\r\nX-Slow: ", post(HELLO[:20], length=60)])
def test_a_request_that_drips_in_is_refused_in_time(gateway, begun):
    """One byte at a time keeps the connection busy, and does not set the clock back."""
    client = Client(gateway).send(begun)
    client.socket.settimeout(0.15)
    began, seen = time.monotonic(), b""
    while b"}}" not in seen:
        assert time.monotonic() - began < 10
        try:
            client.send(b"a")
            seen += client.socket.recv(4096)
        except TimeoutError:
            continue
    assert seen.startswith(b"HTTP/1.1 408 ") and b'"too_slow"' in seen
    client.socket.close()


def test_a_client_that_says_nothing_is_closed_without_a_word(gateway):
    assert Client(gateway).rest() == b""


def test_slow_work_and_idle_connections_are_not_slow_requests(gateway):
    """The limits are on what the client sends: a slow answer and a rest between two requests are no offence."""
    gateway.upstream.script = Script(body=answer(), wait_s=1.6)
    client = Client(gateway).send(post())
    assert client.socket.recv(65536).startswith(b"HTTP/1.1 200")
    gateway.upstream.script = usual
    time.sleep(1.6)
    while select.select([client.socket], [], [], 0.2)[0]:
        client.socket.recv(65536)
    assert client.send(post()).socket.recv(65536).startswith(b"HTTP/1.1 200")
    client.socket.close()


def test_requests_sent_ahead_wait_for_their_turn(gateway):
    """The second request's head is cut in two while the first is answered for longer than header_s."""
    gateway.upstream.script = Script(body=answer(), wait_s=1.6)
    second = post(HELLO, "Connection: close")
    client = Client(gateway).send(post() + second[:40])
    time.sleep(0.3)
    client.send(second[40:])
    assert len(re.findall(rb"HTTP/1\.1 200 OK", client.rest())) == 2


def test_a_client_that_does_not_read_its_answer_is_cut_off(gateway):
    gateway.upstream.script = Script(body=answer(message={"role": "assistant", "content": "a" * 30_000_000}))
    client = Client(gateway)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.send(post())
    give_up = time.monotonic() + 15
    while b'refused_total{reason="unread"} 1' not in gateway.get("/metrics")[2]:
        assert time.monotonic() < give_up
        time.sleep(0.2)
    client.socket.close()


def test_refusals_are_counted_by_reason(gateway):
    Client(gateway).send(b"\0\0\0\0").refusal()
    assert b'trimtab_connections_refused_total{reason="bad_http"}' in gateway.get("/metrics")[2]


def test_addresses_come_from_the_configuration_alone(gateway):
    """Nothing that a client writes makes the gateway connect elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as bait:
        address = f"127.0.0.1:{bait.getsockname()[1]}"
        url = f"http://{address}/v1"
        lines = [
            f"{name}: {url}" for name in ("X-Forwarded-Host", "X-Original-URL", "Forwarded", "Referer", "Location")
        ]
        lines += [f"X-Forwarded-Server: {address}", f"x-portkey-custom-host: {url}", f"x-trimtab-endpoint: {url}"]
        extra = f',"base_url":"{url}","api_base":"{url}","endpoint":"{url}"}}'.encode()
        request = post(HELLO[:-1] + extra, "Connection: close", *lines)
        absolute = request.replace(b"POST /v1", f"POST {url}".encode()).replace(b"Host: x", f"Host: {address}".encode())
        for sent in (request, absolute):
            assert Client(gateway).send(sent).rest().startswith(b"HTTP/1.1 200")
        named = json.dumps({"model": url, "messages": []}).encode()
        assert Client(gateway).send(post(named, "Connection: close")).refusal() == (404, "model_not_found")
        bait.settimeout(0.3)
        with pytest.raises(TimeoutError):
            bait.accept()
    assert len(gateway.upstream.seen) == 2


def test_a_redirect_to_another_server_is_not_followed(gateway):
    with socket.create_server(("127.0.0.1", 0)) as bait:
        where = f"http://127.0.0.1:{bait.getsockname()[1]}/"
        for status in (301, 302, 307, 308):
            gateway.upstream.script = Script(body=b"", status=status, headers={"Location": where})
            assert gateway.ask(HELLO)[0] == 502
        bait.settimeout(0.3)
        with pytest.raises(TimeoutError):
            bait.accept()


def test_a_proxy_in_the_environment_is_not_used(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as bait, FakeUpstream() as upstream:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{bait.getsockname()[1]}")
        monkeypatch.setenv("TRIMTAB_TEST_KEY", "k")
        with GatewayProcess(write_config(tmp_path, upstream)) as process:
            assert Running(upstream, process, tmp_path / "store").ask(HELLO)[0] == 200


def test_a_connection_that_rests_is_closed_and_one_that_is_used_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_TEST_KEY", "sk-of-the-gateway")
    with FakeUpstream() as upstream, Served(write_config(tmp_path, upstream, CONFIG), keep_alive_s=1) as served:
        upstream.script = Script(body=answer())
        host, port = served.url.removeprefix("http://").removesuffix("/v1").split(":")
        with socket.create_connection((host, int(port)), timeout=15) as client:
            for _ in range(4):
                client.sendall(post())
                content = b""
                while not content.endswith(answer()):
                    content += client.recv(65536)
                time.sleep(0.5)
            began = time.monotonic()
            assert client.recv(1) == b""
            assert time.monotonic() - began < 10
