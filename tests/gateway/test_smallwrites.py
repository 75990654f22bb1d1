"""Small writes leave at once on both legs of a gateway process: none waits 40 ms for a delayed acknowledgement.

The ends here acknowledge late on purpose (TCP_QUICKACK off), which is what makes a sender without TCP_NODELAY hold
back each small write until the one before it is acknowledged, so that several arrive together.
"""

import ctypes
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.gateway.upstream import chunk
from trimtab.gateway.process import GatewayProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="delayed acknowledgements are Linux's here")

EVENTS = 40
PAUSE_S = 0.005
CONFIG = """
endpoints = [{{ name = "main", url = "http://127.0.0.1:{port}/v1", model = "fake-model" }}]
[store]
folder = "{folder}"
"""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PLAIN = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}'
# pidfd_getfd(2) has one number on all architectures.
PIDFD_GETFD = 438


def late(connection):
    """Acknowledge late from here on; the kernel forgets it, so say it before each read."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    return connection


def request(connection, read):
    """What is read until `read(data)`: the bytes, in how many arrivals, and seconds from the first to the last."""
    data, arrivals, began = b"", 0, 0.0
    while not read(data):
        piece = late(connection).recv(65536)
        if not piece:
            return b"", 0, 0.0
        began = began or time.monotonic()
        data, arrivals = data + piece, arrivals + 1
    return data, arrivals, time.monotonic() - began


def is_whole(data):
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    if b"chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(body) >= int(length.split(b":")[1])


class Upstream:
    """A model server of bare sockets that acknowledges late; `took` has (seconds, arrivals) of each request."""

    def __init__(self, nodelay=True):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.nodelay = nodelay
        self.took = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, self.nodelay)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            while True:
                data, arrivals, seconds = request(connection, is_whole)
                if not data:
                    return
                self.took.append((seconds, arrivals))
                if b'"stream": true' in data or b"POST /stream" in data:
                    self.stream(connection)
                else:
                    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                    connection.sendall(head % len(PLAIN) + PLAIN)

    def stream(self, connection):
        connection.sendall(HEAD)
        finish = [chunk(finish="stop"), b"data: [DONE]\n\n"]
        for event in [chunk({"content": "word"})] * EVENTS + finish:
            connection.sendall(b"%x\r\n%b\r\n" % (len(event), event))
            time.sleep(PAUSE_S)
        connection.sendall(b"0\r\n\r\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smallwrites")
    with Upstream() as upstream:
        (folder / "trimtab.toml").write_text(CONFIG.format(port=upstream.port, folder=folder / "store"))
        with GatewayProcess(folder / "trimtab.toml") as gateway:
            yield upstream, gateway


def connect(port):
    return late(socket.create_connection(("127.0.0.1", port), timeout=20))


def question(path="/v1/chat/completions", **more):
    body = json.dumps({"model": "fake-model", "messages": [{"role": "user", "content": "x"}], **more}).encode()
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def arrivals(port, path="/v1/chat/completions"):
    """In how many pieces the EVENTS paced events of a stream reach a client that acknowledges late."""
    with connect(port) as connection:
        connection.sendall(question(path, stream=True))
        data, count, _ = request(connection, lambda data: data.endswith(b"0\r\n\r\n"))
    assert data.count(b'"word"') == EVENTS
    return count


def port_of(gateway):
    return urlsplit(gateway.url).port


def test_each_event_of_a_stream_reaches_the_client_by_itself(pair):
    _, gateway = pair
    # Busy machines run two together now and then; held back ones come eight at a time.
    assert max(arrivals(port_of(gateway)) for _ in range(2)) > EVENTS * 0.7


def test_the_probe_sees_a_server_that_holds_small_writes_back():
    with Upstream(nodelay=False) as upstream:
        assert min(arrivals(upstream.port, "/stream") for _ in range(2)) < EVENTS * 0.5


def test_a_request_is_whole_at_the_model_server_at_once(pair):
    upstream, gateway = pair
    upstream.took.clear()
    with connect(port_of(gateway)) as connection:
        for _ in range(15):
            connection.sendall(question())
            request(connection, is_whole)
    took = sorted(seconds for seconds, _ in upstream.took)
    assert len(took) == 15
    assert took[7] < 0.02, "its head and its body are 40 ms apart"


def test_what_passes_through_goes_up_piece_by_piece(pair):
    upstream, gateway = pair
    upstream.took.clear()
    with connect(port_of(gateway)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"POST /v1/files HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(EVENTS):
            connection.sendall(b"5\r\npiece\r\n")
            time.sleep(PAUSE_S)
        connection.sendall(b"0\r\n\r\n")
        data, _, _ = request(connection, is_whole)
    assert data.startswith(b"HTTP/1.1 200")
    assert upstream.took[0][1] > EVENTS * 0.7


def sockets(pid):
    """Copies of the process's connected TCP sockets."""
    libc, pidfd = ctypes.CDLL(None, use_errno=True), os.pidfd_open(pid)
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        if not str(entry.readlink()).startswith("socket:"):
            continue
        copy = libc.syscall(PIDFD_GETFD, pidfd, int(entry.name), 0)
        if copy < 0:
            pytest.skip(f"the gateway's sockets cannot be looked at: {os.strerror(ctypes.get_errno())}")
        held = socket.socket(fileno=copy)
        if held.family in (socket.AF_INET, socket.AF_INET6):
            try:
                held.getpeername()
            except OSError:
                continue
            found.append(held)
    os.close(pidfd)
    return found


def test_both_legs_have_tcp_nodelay(pair):
    upstream, gateway = pair
    with connect(port_of(gateway)) as connection:
        connection.sendall(question())
        request(connection, is_whole)
        held = sockets(gateway.pid)
        up = [one for one in held if one.getpeername()[1] == upstream.port]
        down = [one for one in held if one.getpeername() == connection.getsockname()]
        assert up
        assert down
        assert all(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in (*up, *down))
        for one in held:
            one.close()
