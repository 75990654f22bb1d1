"""The upstream call: one pooled HTTP client for all endpoints; every way to fail has a name and an OpenAI-shaped body.

The last link of the chain. Small writes leave at once (aiohttp sets TCP_NODELAY on each connection).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

import aiohttp
from multidict import CIMultiDict

from trimtab.endpoint import Endpoint
from trimtab.errors import UpstreamError
from trimtab.gateway import attribution, wire
from trimtab.gateway.chain import Reply, Request
from trimtab.trace import EndState

# Headers that belong to one connection, or that this gateway writes itself.
_OWN_LEG = frozenset(
    b"host connection keep-alive proxy-connection transfer-encoding te trailer upgrade content-length expect "
    b"accept-encoding traceparent proxy-authorization".split()
)
_KEYS = frozenset((b"authorization", b"x-api-key", b"api-key"))
_NOT_RETURNED = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding trailer upgrade content-length content-encoding "
    b"server proxy-authenticate".split()
)


class UpstreamFailed(UpstreamError):
    """The upstream gave no whole answer: `status` and `code` for the client, `end` for the trace."""

    def __init__(self, message: str, *, status: int, code: str, end: EndState = EndState.UPSTREAM_ERROR) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.end = end


class Upstream:
    """Sends requests to endpoints. `open` and `close` inside the event loop that uses it."""

    def __init__(self) -> None:
        self._client: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("User-Agent", "Content-Type"),
            read_bufsize=256 * 1024,
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def send(self, request: Request) -> Reply:
        """The upstream's answer, its status kept; a stream comes back as soon as its headers are there.

        Raises UpstreamFailed where no answer came (502, 504) or where a 200 is no JSON (502).
        """
        if self._client is None:
            raise UpstreamFailed("the gateway is not running yet: try again", status=503, code="not_ready")
        endpoint = request.endpoint
        request.notes.endpoint = endpoint
        body = wire.outgoing(request.body, request.head, endpoint.model)
        began = time.perf_counter()
        try:
            return await self._exchange(self._client, request, body)
        except TimeoutError as error:
            message = f"endpoint '{endpoint.name}' did not answer within {endpoint.timeout_s:g} s: raise its timeout_s"
            raise UpstreamFailed(message, status=504, code="upstream_timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"endpoint '{endpoint.name}' cannot be reached ({_reason(error)}): check its url and that it runs"
            raise UpstreamFailed(message, status=502, code="upstream_unreachable") from error
        finally:
            request.notes.upstream_s += time.perf_counter() - began

    async def _exchange(self, client: aiohttp.ClientSession, request: Request, body: bytes) -> Reply:
        endpoint = request.endpoint
        headers = _sent(request)
        async with asyncio.timeout(endpoint.timeout_s):
            url = endpoint.url.rstrip("/") + "/chat/completions"
            response = await client.post(url, data=body, headers=headers, allow_redirects=False)
        returned = tuple(
            (name.lower(), held) for name, held in response.raw_headers if name.lower() not in _NOT_RETURNED
        )
        if response.status == 200 and response.content_type == "text/event-stream":
            return Reply(status=200, headers=returned, chunks=_chunks(response, endpoint))
        try:
            async with asyncio.timeout(endpoint.timeout_s):
                content = await response.read()
        finally:
            response.release()
        return _plain(endpoint, response.status, returned, content)


def _plain(endpoint: Endpoint, status: int, headers: tuple[tuple[bytes, bytes], ...], content: bytes) -> Reply:
    """A whole answer; an error without OpenAI's shape is put into it, under the upstream's own status."""
    if status == 200:
        if wire.answer(content) is None:
            message = f"endpoint '{endpoint.name}' answered 200 but not in JSON: check its url"
            raise UpstreamFailed(message, status=502, code="upstream_not_json")
        return Reply(status=status, headers=headers, body=content)
    if status < 400:
        message = f"endpoint '{endpoint.name}' answered {status}, a redirect perhaps: set its url to where it leads"
        raise UpstreamFailed(message, status=502, code="upstream_redirect")
    if wire.error_text(content) is not None:
        return Reply(status=status, headers=headers, body=content)
    kept = tuple((name, held) for name, held in headers if name != b"content-type")
    message = f"endpoint '{endpoint.name}' answered {status}: look at its own log"
    shaped = wire.error_body(message, "upstream_error", code=f"upstream_{status}")
    return Reply(status=status, headers=(*kept, (b"content-type", b"application/json")), body=shaped)


class _Watch:
    """Ends a read that waits longer than `stall_s`. One timer a stream, looked at as it fires: a timeout object for
    each read would cost as much as reading."""

    def __init__(self, content: aiohttp.StreamReader, stall_s: float) -> None:
        self._content = content
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None
        self._timer = self._loop.call_later(stall_s, self._look)

    async def read(self) -> bytes:
        """The next bytes, b"" at the end; TimeoutError after `stall_s` of silence."""
        self._waiting_since = self._loop.time()
        data = await self._content.readany()
        self._waiting_since = None
        return data

    def _look(self) -> None:
        """A reader that is not waiting is held up by its client: that is not the upstream's silence."""
        silent = 0.0 if self._waiting_since is None else self._loop.time() - self._waiting_since
        if silent >= self._stall_s:
            self._content.set_exception(TimeoutError())
        else:
            self._timer = self._loop.call_later(self._stall_s - silent, self._look)

    def close(self) -> None:
        self._timer.cancel()


async def _chunks(response: aiohttp.ClientResponse, endpoint: Endpoint) -> AsyncIterator[bytes]:
    """The stream's bytes as they arrive. Closing it half-way closes the connection, so the upstream stops its work."""
    watch = _Watch(response.content, endpoint.stall_s)
    try:
        while data := await watch.read():
            yield data
    except TimeoutError as error:
        message = f"endpoint '{endpoint.name}' was silent for {endpoint.stall_s:g} s in the middle of an answer"
        raise UpstreamFailed(message, status=504, code="stream_stalled", end=EndState.STALLED) from error
    except (aiohttp.ClientError, OSError) as error:
        message = f"endpoint '{endpoint.name}' cut the answer ({_reason(error)})"
        raise UpstreamFailed(message, status=502, code="stream_cut", end=EndState.CUT) from error
    finally:
        watch.close()
        response.close()


def _sent(request: Request) -> CIMultiDict[str]:
    """The client's headers without those of its own leg, ours and, where the endpoint has a key, the client's keys."""
    endpoint = request.endpoint
    dropped = _OWN_LEG | _KEYS if endpoint.key_env else _OWN_LEG
    headers = CIMultiDict(
        (name.decode("latin-1"), held.decode("latin-1"))
        for name, held in request.headers
        if name not in dropped and not name.startswith(attribution.OWN_PREFIX)
    )
    # Bytes that are read on the way must not be packed.
    headers["Accept-Encoding"] = "identity"
    headers["Traceparent"] = request.who.traceparent
    headers.setdefault("Content-Type", "application/json")
    if endpoint.key_env:
        headers["Authorization"] = "Bearer " + os.environ.get(endpoint.key_env, "")
    return headers


def _reason(error: Exception) -> str:
    """Why, without addresses or header values: the system's word for it, else the error's name."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
