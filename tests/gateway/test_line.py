"""Lines to model servers over real sockets: what they read, what they refuse, and when they are used again."""

import asyncio
import contextlib
import itertools
import socket

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.gateway import pool as pool_module
from trimtab.gateway.line import Broken
from trimtab.gateway.pool import Pool, address_of

ASK = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"


@contextlib.asynccontextmanager
async def server(*answers, end="hold"):
    """Answers each request with the next of `answers`, given in pieces, and then does what `end` says."""
    left, seen = iter(answers), []

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                seen.append(writer.get_extra_info("peername"))
                for piece in next(left):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001)
                if end == "close":
                    break
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield address_of(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"), seen
    finally:
        listening.close()


async def asked(pool, address):
    """(status, body) of one request, its line given back."""
    line = pool.kept(address) or await pool.connect(address, 5)
    try:
        line.send(ASK)
        await line.head()
        body = b""
        while piece := await line.read():
            body += piece
        return line.status, body
    finally:
        pool.give(address, line)


def run(work):
    return uvloop.run(asyncio.wait_for(work, 20))


GOOD = [OK, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + OK]


@pytest.mark.parametrize("answer", GOOD, ids=["length", "chunks", "100"])
def test_a_whole_answer_leaves_the_line_free(answer):
    async def go():
        async with server([answer], [answer]) as (address, seen):
            pool = Pool()
            assert [await asked(pool, address) for _ in range(2)] == [(200, b"hi")] * 2
            assert (len(set(seen)), pool.idle, pool.taken) == (1, 1, 0)
            await pool.close()

    run(go())


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([OK, CHUNKED]), st.lists(st.integers(1, 70), max_size=8))
def test_any_cuts_give_the_same(answer, cuts):
    edges = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    pieces = [answer[start:end] for start, end in itertools.pairwise(edges) if start < end]

    async def go():
        async with server(pieces) as (address, _):
            pool = Pool()
            assert await asked(pool, address) == (200, b"hi")
            await pool.close()

    run(go())


def test_without_a_length_the_end_of_the_connection_is_the_answers():
    async def go():
        async with server([b"HTTP/1.1 200 OK\r\n\r\nhi"], end="close") as (address, _):
            pool = Pool()
            assert await asked(pool, address) == (200, b"hi")
            assert (pool.idle, pool.taken) == (0, 0)

    run(go())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000, "do not end"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", "the connection"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n", "no HTTP"),
        (b"", "the connection"),
    ],
    ids=["ssh", "endless-headers", "short", "bad-chunk", "nothing"],
)
def test_what_is_no_answer_is_broken_and_its_line_is_not_kept(answer, why):
    async def go():
        async with server([answer], end="close") as (address, _):
            pool = Pool()
            with pytest.raises(Broken, match=why):
                await asked(pool, address)
            assert (pool.idle, pool.taken) == (0, 0)

    run(go())


def test_what_comes_unasked_is_never_an_answer():
    async def go():
        async with server([OK, OK], [CHUNKED]) as (address, seen):
            pool = Pool()
            await asked(pool, address)
            await asyncio.sleep(0.05)
            assert await asked(pool, address) == (200, b"hi")
            assert len(set(seen)) == 2

    run(go())


def test_idle_lines_are_given_up(monkeypatch):
    monkeypatch.setattr(pool_module, "_IDLE_S", 0.1)

    async def go():
        async with server([OK]) as (address, _):
            pool = Pool()
            await asked(pool, address)
            assert pool.idle == 1
            await asyncio.sleep(0.4)
            assert pool.idle == 0

    run(go())


def test_a_slow_reader_makes_the_server_wait():
    async def go():
        sent = 0

        async def serve(reader, writer):
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                for _ in range(1000):
                    writer.write(b"x" * 100_000)
                    await writer.drain()
                    sent += 100_000

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        pool = Pool()
        line = await pool.connect(address_of(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"), 5)
        line.send(ASK)
        await line.head()
        await asyncio.sleep(0.5)
        waiting, read = sent, 0
        assert waiting < 30_000_000
        while piece := await line.read():
            read += len(piece)
        assert read == 100_000_000
        listening.close()

    run(go())


def test_poured_pieces_come_in_order_and_stop_when_told():
    words = [b"%d " % number for number in range(50)]
    pieces = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]
    pieces += [b"%x\r\n%b\r\n" % (len(word), word) for word in words] + [b"0\r\n\r\n"]

    async def go():
        async with server(pieces) as (address, _):
            line = await Pool().connect(address, 5)
            line.send(ASK)
            await line.head()
            got = []

            def take(piece):
                got.append(piece)
                return len(got) % 7 != 0

            while not await line.pour(take):
                assert len(got) % 7 == 0
            assert b"".join(got) == b"".join(words)

    run(go())


def test_an_unreachable_server_is_an_error_in_time():
    async def go():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(OSError, match=r"refused|Connect"):
                await Pool().connect(address_of(f"http://127.0.0.1:{taken.getsockname()[1]}"), 5)

    run(go())


@pytest.mark.parametrize(
    ("url", "host", "port", "header", "path"),
    [
        ("http://localhost:8000/v1", "localhost", 8000, b"localhost:8000", b"/v1"),
        ("https://api.example.com/v1/", "api.example.com", 443, b"api.example.com", b"/v1"),
        ("http://[::1]:9/x", "::1", 9, b"[::1]:9", b"/x"),
        ("http://bücher.example", "xn--bcher-kva.example", 80, b"xn--bcher-kva.example", b""),
    ],
)
def test_addresses(url, host, port, header, path):
    address = address_of(url)
    assert (address.host, address.port, address.host_header, address.path) == (host, port, header, path)
