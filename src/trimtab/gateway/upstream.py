"""The upstream call: one pooled HTTP client for all endpoints; every way to fail has a name.

Each call of it is one attempt; that there may be others is the business of failover. Small writes leave at once
(aiohttp sets TCP_NODELAY on each connection).
"""

from __future__ import annotations

import asyncio
import functools
import time

import aiohttp
import yarl

from trimtab.endpoint import Endpoint
from trimtab.gateway import leg, wire
from trimtab.gateway.arrival import BROKEN, Arrival, reason
from trimtab.gateway.chain import Reply, Request, UpstreamFailed
from trimtab.gateway.opening import refusal
from trimtab.gateway.wire import Problem

_MAX_ANSWER_BYTES = 64 * 1024 * 1024


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

    @property
    def client(self) -> aiohttp.ClientSession:
        """The open client; UpstreamFailed 503 where there is none."""
        if self._client is None:
            raise UpstreamFailed("the gateway is not running yet: try again", status=503, code="not_ready")
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def send(self, request: Request) -> Reply:
        """One attempt: the upstream's answer, its status kept; a stream comes back as soon as it has content.

        Raises UpstreamFailed where no answer came (502, 504), where a 200 is no JSON (502), or where a stream ended
        before it said anything (502).
        """
        client, endpoint = self.client, request.endpoint
        request.notes.endpoint = endpoint
        body = request.dialect.outgoing(request.body, request.head, endpoint.model)
        streamed = request.head.streamed
        limit_s = endpoint.first_token_s if streamed else endpoint.timeout_s
        began = time.perf_counter()
        try:
            async with asyncio.timeout(limit_s):
                return await self._exchange(client, request, body)
        except TimeoutError as error:
            what, key = ("began no stream", "first_token_s") if streamed else ("did not answer", "timeout_s")
            message = f"endpoint '{endpoint.name}' {what} within {limit_s:g} s: raise its {key}"
            raise UpstreamFailed(message, status=504, code="upstream_timeout") from error
        finally:
            request.notes.upstream_s += time.perf_counter() - began

    async def _exchange(self, client: aiohttp.ClientSession, request: Request, body: bytes) -> Reply:
        endpoint = request.endpoint
        response = await _post(client, request, body)
        returned = leg.returned(response.raw_headers, endpoint)
        arrival = Arrival(response, endpoint)
        try:
            if response.status != 200 or response.content_type != "text/event-stream":
                content = await arrival.whole(_MAX_ANSWER_BYTES)
                arrival.close()
                return _plain(request, response.status, returned, content)
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


def address(endpoint: Endpoint, path: str, query: str = "") -> str | yarl.URL:
    """Where `path`, which begins with `/v1`, is found at `endpoint`."""
    url = endpoint.url.rstrip("/") + path.removeprefix("/v1")
    return yarl.URL(f"{url}?{query}", encoded=True) if query else url


async def _post(client: aiohttp.ClientSession, request: Request, body: bytes) -> aiohttp.ClientResponse:
    """The response as soon as its headers are there."""
    endpoint = request.endpoint
    url = address(endpoint, request.dialect.path, request.query)
    headers = leg.sent(request.headers, endpoint, request.who.traceparent)
    timeout = _timeout(endpoint.connect_s)
    try:
        return await client.post(url, data=body, headers=headers, allow_redirects=False, timeout=timeout)
    except aiohttp.ConnectionTimeoutError as error:
        message = f"endpoint '{endpoint.name}' took no connection within {endpoint.connect_s:g} s: check its url"
        raise UpstreamFailed(message, status=504, code="upstream_timeout") from error
    except BROKEN as error:
        message = f"endpoint '{endpoint.name}' cannot be reached ({reason(error)}): check its url and that it runs"
        raise UpstreamFailed(message, status=502, code="upstream_unreachable") from error


def _plain(request: Request, status: int, headers: tuple[tuple[bytes, bytes], ...], content: bytes) -> Reply:
    """A whole answer; an error of no known shape is put into the dialect's, under the upstream's own status."""
    endpoint, dialect = request.endpoint, request.dialect
    if status == 200:
        answer = dialect.answer(content)
        if answer is None:
            message = f"endpoint '{endpoint.name}' answered 200 but not in JSON: check its url"
            raise UpstreamFailed(message, status=502, code="upstream_not_json")
        if answer.error:
            return _shaped(headers, 502, content)
        return Reply(status=status, headers=headers, body=content)
    if status < 400:
        message = f"endpoint '{endpoint.name}' answered {status}, a redirect perhaps: set its url to where it leads"
        raise UpstreamFailed(message, status=502, code="upstream_redirect")
    if wire.error_text(content) is not None:
        return Reply(status=status, headers=headers, body=content)
    message = f"endpoint '{endpoint.name}' answered {status}: look at its own log"
    return _shaped(headers, status, dialect.error_body(Problem(message, status, code=f"upstream_{status}")))


def _shaped(headers: tuple[tuple[bytes, bytes], ...], status: int, body: bytes) -> Reply:
    """An error of ours, or one of the upstream's that came under another status or content type."""
    kept = tuple((name, held) for name, held in headers if name != b"content-type")
    return Reply(status=status, headers=(*kept, (b"content-type", b"application/json")), body=body)
