"""Files, batches and stored answers: passed on without being read, any method below a path, bodies as they come.

Bodies are never held whole, so their size has no limit here; what is asked for is tried once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import unquote

import aiohttp
import yarl
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDict

from trimtab.endpoint import Endpoint
from trimtab.errors import RequestRefused, TrimtabError
from trimtab.gateway import attribution, http, leg
from trimtab.gateway.account import Account
from trimtab.gateway.arrival import reason
from trimtab.gateway.chain import UpstreamFailed
from trimtab.gateway.chat import Services
from trimtab.gateway.cycle import WATCH
from trimtab.gateway.dialects.chat import CHAT
from trimtab.gateway.dialects.messages import MESSAGES
from trimtab.gateway.dialects.table import DIALECTS
from trimtab.gateway.disclosure import Strike
from trimtab.gateway.limits import Reservation
from trimtab.trace import EndState

# Path -> the operation it is recorded as, and the dialect of the endpoint that keeps such things ("": any).
_PATHS = {
    "/v1/files": ("files", ""),
    "/v1/batches": ("batches", ""),
    "/v1/responses": ("responses", "responses"),
    "/v1/messages/batches": ("batches", "messages"),
}
# What reading from a broken connection raises.
_BROKEN = (aiohttp.ClientError, HttpProcessingError, OSError)
_READ = frozenset(dialect.path for dialect in DIALECTS)


def kept_below(path: str) -> tuple[str, str] | None:
    """(operation, dialect) of a path that is passed on; None for all others."""
    return next((kept for above, kept in _PATHS.items() if path == above or path.startswith(above + "/")), None)


def is_passed_on(path: str) -> bool:
    """Whether what comes for `path` is passed on unread, and not one of the dialects' own requests."""
    return kept_below(path) is not None and path not in _READ


class Passthrough:
    """Passes on to the endpoint that the configuration names; without one, to the first that can be meant."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._client: aiohttp.ClientSession | None = None

    @property
    def client(self) -> aiohttp.ClientSession:
        """Opened when it is first asked for, inside the event loop: most gateways never pass anything on."""
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Content-Type"),
                read_bufsize=256 * 1024,
            )
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def run(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        await Passage(self, scope, receive, send).run()

    def endpoint(self, dialect: str) -> Endpoint:
        """Where things of `dialect` are kept; RequestRefused 404 where no endpoint speaks it."""
        live = self.services.live
        named, endpoints = live.bounds.passthrough, live.serving.deployment.endpoints
        speak = [endpoint for endpoint in endpoints if dialect in ("", endpoint.dialect)]
        for endpoint in speak:
            if endpoint.name == named or (not named and endpoint is speak[0]):
                return endpoint
        if speak and dialect:
            return speak[0]
        what = f"'{named}'" if named else f"that speaks {dialect}"
        message = f"there is no endpoint {what} to pass this on to: see gateway.passthrough in docs/config.md"
        raise RequestRefused(message, status=404, code="no_endpoint")


class Passage:
    """One request on its way through; recorded once, without bodies."""

    def __init__(self, through: Passthrough, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        self.through = through
        self.scope = scope
        self.receive = receive
        self.send = send
        self.account = Account(through.services.live, scope["headers"])
        self.account.operation, self.dialect = kept_below(scope["path"]) or ("", "")
        self.account.who = self.who = attribution.of(self.account.headers, None, spans=self.account.live.spans)
        self.reservation: Reservation | None = None
        self.begun = False
        self.gone = False
        self._task = asyncio.current_task()

    async def run(self) -> None:
        account = self.account
        end = EndState.CUT
        try:
            await self.admit()
            end = await self.pass_on()
        except http.ClientGone:
            end = EndState.CLIENT_GONE
        except asyncio.CancelledError:
            if not self.gone or self._task is None:
                account.error = "the gateway was stopped"
                raise
            end = EndState.CLIENT_GONE
            self._task.uncancel()
        except TrimtabError as error:
            end = error.end if isinstance(error, UpstreamFailed) else EndState.REFUSED
            account.error = str(error)
            if not self.begun:
                await self.send_error(error)
        finally:
            self.scope["extensions"][WATCH](None)
            call = account.call(end)
            if self.reservation is not None:
                self.through.services.limits.settle(self.reservation, call, account)
            self.through.services.meter.count(call, None)
            self.through.services.recorder.submit(call, None, None, 0)

    async def admit(self) -> None:
        """Whose request it is: its virtual key, which goes no further than here. LimitRefused where it may not."""
        limits, account = self.through.services.limits, self.account
        key = limits.identify(account.headers)
        account.headers = limits.without_keys(account.headers)
        if key is not None:
            account.key = key.name
            self.reservation = await limits.reserve_unread(key, self.who.trace_id)

    async def send_error(self, error: TrimtabError) -> None:
        account = self.account
        account.key = account.key or getattr(error, "key", "")
        account.status, content = http.refusal(error, MESSAGES if self.dialect == "messages" else CHAT)
        headers = [http.JSON, *getattr(error, "headers", ()), *account.own_headers()]
        await http.send_body(self.send, account.status, content, headers)

    async def pass_on(self) -> EndState:
        """Send the request on and its answer back, each piece as it comes."""
        account = self.account
        account.notes.endpoint = endpoint = self.through.endpoint(self.dialect)
        began = time.perf_counter()
        try:
            response = await self.ask(endpoint)
        finally:
            account.notes.upstream_s = time.perf_counter() - began
        try:
            account.status = response.status
            headers = [*leg.returned(response.raw_headers, endpoint), *account.own_headers()]
            # An error may give the key away; files are what clients put there, and keep their length.
            strike = Strike(endpoint) if response.status >= 400 else bytes
            is_plain = "Content-Encoding" not in response.headers and response.status < 400
            if is_plain and (length := response.headers.get("Content-Length")):
                headers.append((b"content-length", length.encode("latin-1")))
            self.begun = True
            await self.send({"type": "http.response.start", "status": response.status, "headers": headers})
            async for data in response.content.iter_any():
                await self.send({"type": "http.response.body", "body": strike(data), "more_body": True})
        except _BROKEN as error:
            # Without its last piece the client sees that the answer is not whole.
            message = f"endpoint '{endpoint.name}' cut the answer ({reason(error)}): ask again"
            raise UpstreamFailed(message, status=502, code="upstream_cut", end=EndState.CUT) from error
        finally:
            response.close()
        await self.send({"type": "http.response.body", "body": b""})
        if response.status >= 400:
            account.error = f"status {response.status}"
        return EndState.COMPLETE if response.status < 400 else EndState.UPSTREAM_ERROR

    async def ask(self, endpoint: Endpoint) -> aiohttp.ClientResponse:
        """The answer as soon as its headers are there."""
        given = dict(self.account.headers)
        has_body = given.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in given
        if not has_body:
            self.watch()
        try:
            return await self.through.client.request(
                self.scope["method"],
                _url(endpoint, self.scope),
                data=self.body() if has_body else None,
                headers=self.headers(endpoint, given),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=endpoint.connect_s, sock_read=endpoint.timeout_s
                ),
            )
        except aiohttp.ServerTimeoutError as error:
            message = f"endpoint '{endpoint.name}' did not answer in time: look at its connect_s and timeout_s"
            raise UpstreamFailed(message, status=504, code="upstream_timeout") from error
        except _BROKEN as error:
            if self.gone:
                raise http.ClientGone from error
            message = f"endpoint '{endpoint.name}' cannot be reached ({reason(error)}): check its url and that it runs"
            raise UpstreamFailed(message, status=502, code="upstream_unreachable") from error

    def headers(self, endpoint: Endpoint, given: dict[bytes, bytes]) -> CIMultiDict[str]:
        pairs = leg.sent(self.account.headers, endpoint, self.who.traceparent)
        going = CIMultiDict((name.decode("latin-1"), held.decode("latin-1")) for name, held in pairs)
        if b"content-type" not in given:
            del going["Content-Type"]
        if b"content-length" in given:
            going["Content-Length"] = given[b"content-length"].decode("latin-1")
        return going

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body piece by piece; ClientGone where the client hangs up in the middle of it."""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise http.ClientGone
            if piece := message.get("body", b""):
                yield piece
            if not message.get("more_body"):
                self.watch()
                return

    def watch(self) -> None:
        """From now on a hang-up ends the answer."""
        self.scope["extensions"][WATCH](self._hung_up)

    def _hung_up(self) -> None:
        if self._task is not None:
            self.gone = True
            self._task.cancel()


def _url(endpoint: Endpoint, scope: http.Scope) -> yarl.URL:
    """Where what is asked for is found at `endpoint`, whose url stands for `/v1`."""
    url = endpoint.url.rstrip("/") + _path(scope).removeprefix("/v1")
    query = scope.get("query_string", b"").decode("latin-1")
    return yarl.URL(f"{url}?{query}" if query else url, encoded=bool(query))


def _path(scope: http.Scope) -> str:
    """The path as it was written; RequestRefused 400 where it would lead out of its own folder."""
    path: str = scope.get("raw_path", b"").decode("latin-1").partition("?")[0] or scope["path"]
    if {".", ".."} & set(unquote(path).split("/")) or kept_below(path) is None:
        raise RequestRefused(f"'{path}' is no path to pass on: write it without '.' and '..'", code="bad_path")
    return path
