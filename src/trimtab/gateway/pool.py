"""The pool: open lines to the model servers, kept for the next request. Knows addresses, no models."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from urllib.parse import urlsplit

import aiohappyeyeballs
import msgspec

from trimtab.gateway.line import Line

# Most servers close an idle connection after a minute or more, some after five seconds.
_IDLE_S = 15.0
# No server gives up a line that rested for less.
_SAFE_S = 1.0
# After so long without an answer the next address of a host is tried beside the first (RFC 8305).
_NEXT_ADDRESS_S = 0.25


class Address(msgspec.Struct, frozen=True):
    """Where an endpoint is. `host_header` is what HTTP calls it, `path` what stands before the API's own paths."""

    host: str
    port: int
    tls: bool
    host_header: bytes
    path: bytes


@functools.lru_cache(maxsize=1024)
def address_of(url: str) -> Address:
    """The address of `url`, which begins with http:// or https://; ValueError where it has no host or a bad port."""
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("no host")
    if any(not char.isprintable() or char == " " for char in url):
        raise ValueError("no address")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    shown = f"[{host}]" if ":" in host else host
    header = shown if parts.port is None else f"{shown}:{port}"
    return Address(host, port, tls, header.encode(), parts.path.rstrip("/").encode())


class Pool:
    """Take a line that is `kept` or `connect` a new one; `give` it back in any case. `taken` counts those in use."""

    def __init__(self) -> None:
        self.taken = 0
        self._idle: dict[Address, list[tuple[float, Line]]] = {}
        self._loop = asyncio.get_running_loop()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def now(self) -> float:
        """The loop's clock."""
        return self._loop.time()

    def kept(self, address: Address) -> Line | None:
        """An idle line, the last used first, so that the others grow old and go; None where a new one is needed."""
        idle = self._idle.get(address)
        while idle:
            since, line = idle.pop()
            if line.is_free:
                line.may_be_stale = self._loop.time() - since > _SAFE_S
                self.taken += 1
                return line
        return None

    @property
    def idle(self) -> int:
        """How many lines wait to be used again."""
        return sum(line.is_free for lines in self._idle.values() for _, line in lines)

    async def connect(self, address: Address, limit_s: float) -> Line:
        """A new line; TimeoutError after `limit_s` seconds, OSError where the server cannot be reached."""
        async with asyncio.timeout(limit_s):
            found = await self._loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            taken = await aiohappyeyeballs.start_connection(
                found, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1, loop=self._loop
            )
            context = _tls() if address.tls else None
            name = address.host if address.tls else None
            try:
                _, line = await self._loop.create_connection(Line, sock=taken, ssl=context, server_hostname=name)
            except BaseException:
                taken.close()
                raise
        self.taken += 1
        return line

    def give(self, address: Address, line: Line) -> None:
        """Keep `line` for the next request, or close it where it is of no more use."""
        self.taken -= 1
        line.in_time()
        if self._closed or not line.is_free:
            return line.close()
        self._idle.setdefault(address, []).append((self._loop.time(), line))
        if self._sweep is None:
            self._sweep = self._loop.call_later(_IDLE_S / 2, self._drop_old)
        return None

    def _drop_old(self) -> None:
        self._sweep = None
        old = self._loop.time() - _IDLE_S
        for address, idle in list(self._idle.items()):
            fresh = [(since, line) for since, line in idle if since > old and line.is_free]
            kept = {line for _, line in fresh}
            for _, line in idle:
                if line not in kept:
                    line.close()
            self._idle[address] = fresh
            if not fresh:
                del self._idle[address]
        if self._idle:
            self._sweep = self._loop.call_later(_IDLE_S / 2, self._drop_old)

    async def close(self) -> None:
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for idle in self._idle.values():
            for _, line in idle:
                with contextlib.suppress(OSError):
                    line.close()
        self._idle.clear()
        await asyncio.sleep(0)  # so that the transports end inside their loop


@functools.lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
