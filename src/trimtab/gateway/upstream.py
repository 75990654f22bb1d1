"""The upstream call: one pooled HTTP client for all endpoints; every way to fail has a name and an OpenAI-shaped body.

Each call of it is one attempt; that there may be others is the business of failover. Small writes leave at once
(aiohttp sets TCP_NODELAY on each connection).
"""

from __future__ import annotations

import asyncio
import functools
import re
import time

import aiohttp
from multidict import CIMultiDict

from trimtab.endpoint import Endpoint
from trimtab.gateway import attribution, wire
from trimtab.gateway.arrival import BROKEN, Arrival, reason
from trimtab.gateway.chain import Reply, Request, UpstreamFailed
from trimtab.gateway.disclosure import KEYS, Strike, key_of
from trimtab.gateway.opening import refusal

_MAX_ANSWER_BYTES = 64 * 1024 * 1024
# Headers that belong to one connection, or that this gateway writes itself.
_OWN_LEG = frozenset(
    b"host connection keep-alive proxy-connection transfer-encoding te trailer upgrade content-length expect "
    b"accept-encoding traceparent proxy-authorization".split()
)
_NOT_RETURNED = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding trailer upgrade content-length content-encoding "
    b"server proxy-authenticate".split()
)
# The client library lets control characters through, which no header of ours may hold.
_UNSOUND = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


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
        """One attempt: the upstream's answer, its status kept; a stream comes back as soon as it has content.

        Raises UpstreamFailed where no answer came (502, 504), where a 200 is no JSON (502), or where a stream ended
        before it said anything (502).
        """
        if self._client is None:
            raise UpstreamFailed("the gateway is not running yet: try again", status=503, code="not_ready")
        endpoint = request.endpoint
        request.notes.endpoint = endpoint
        body = wire.outgoing(request.body, request.head, endpoint.model)
        streamed = request.head.streamed
        limit_s = endpoint.first_token_s if streamed else endpoint.timeout_s
        began = time.perf_counter()
        try:
            async with asyncio.timeout(limit_s):
                return await self._exchange(self._client, request, body)
        except TimeoutError as error:
            what, key = ("began no stream", "first_token_s") if streamed else ("did not answer", "timeout_s")
            message = f"endpoint '{endpoint.name}' {what} within {limit_s:g} s: raise its {key}"
            raise UpstreamFailed(message, status=504, code="upstream_timeout") from error
        finally:
            request.notes.upstream_s += time.perf_counter() - began

    async def _exchange(self, client: aiohttp.ClientSession, request: Request, body: bytes) -> Reply:
        endpoint = request.endpoint
        response = await _post(client, request, body)
        strike = Strike(endpoint)
        returned = tuple(
            (name.lower(), strike(held))
            for name, held in response.raw_headers
            if name.lower() not in _NOT_RETURNED and not _UNSOUND.search(held)
        )
        arrival = Arrival(response, endpoint)
        try:
            if response.status != 200 or response.content_type != "text/event-stream":
                content = await arrival.whole(_MAX_ANSWER_BYTES)
                arrival.close()
                return _plain(endpoint, response.status, returned, content)
            error = await arrival.open()
        except BaseException:
            arrival.close()
            raise
        if error is None:
            request.notes.closers.append(arrival.close)
            return Reply(status=200, headers=returned, chunks=arrival)
        arrival.close()
        return _shaped(returned, *refusal(error))


@functools.lru_cache(maxsize=64)
def _timeout(connect_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_s)


async def _post(client: aiohttp.ClientSession, request: Request, body: bytes) -> aiohttp.ClientResponse:
    """The response as soon as its headers are there."""
    endpoint = request.endpoint
    url = endpoint.url.rstrip("/") + "/chat/completions"
    timeout = _timeout(endpoint.connect_s)
    try:
        return await client.post(url, data=body, headers=_sent(request), allow_redirects=False, timeout=timeout)
    except aiohttp.ConnectionTimeoutError as error:
        message = f"endpoint '{endpoint.name}' took no connection within {endpoint.connect_s:g} s: check its url"
        raise UpstreamFailed(message, status=504, code="upstream_timeout") from error
    except BROKEN as error:
        message = f"endpoint '{endpoint.name}' cannot be reached ({reason(error)}): check its url and that it runs"
        raise UpstreamFailed(message, status=502, code="upstream_unreachable") from error


def _plain(endpoint: Endpoint, status: int, headers: tuple[tuple[bytes, bytes], ...], content: bytes) -> Reply:
    """A whole answer; an error without OpenAI's shape is put into it, under the upstream's own status."""
    if status == 200:
        answer = wire.answer(content)
        if answer is None:
            message = f"endpoint '{endpoint.name}' answered 200 but not in JSON: check its url"
            raise UpstreamFailed(message, status=502, code="upstream_not_json")
        if answer.error and not answer.choices:
            return _shaped(headers, 502, content)
        return Reply(status=status, headers=headers, body=content)
    if status < 400:
        message = f"endpoint '{endpoint.name}' answered {status}, a redirect perhaps: set its url to where it leads"
        raise UpstreamFailed(message, status=502, code="upstream_redirect")
    if wire.error_text(content) is not None:
        return Reply(status=status, headers=headers, body=content)
    message = f"endpoint '{endpoint.name}' answered {status}: look at its own log"
    return _shaped(headers, status, wire.error_body(message, "upstream_error", code=f"upstream_{status}"))


def _shaped(headers: tuple[tuple[bytes, bytes], ...], status: int, body: bytes) -> Reply:
    """An error of ours, or one of the upstream's that came under another status or content type."""
    kept = tuple((name, held) for name, held in headers if name != b"content-type")
    return Reply(status=status, headers=(*kept, (b"content-type", b"application/json")), body=body)


def _sent(request: Request) -> CIMultiDict[str]:
    """The client's headers without those of its own leg, ours and, where the endpoint has a key, the client's keys."""
    endpoint = request.endpoint
    dropped = _OWN_LEG | KEYS if endpoint.key_env else _OWN_LEG
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
        headers["Authorization"] = "Bearer " + key_of(endpoint)
    return headers
