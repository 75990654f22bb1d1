"""A client's connection: HTTP as uvicorn reads it, within limits of size and time, and refused in JSON beyond them.

Knows no models, and of paths only which are passed on unread. What it refuses never becomes a request, so it is counted
but not recorded.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trimtab.config import GatewaySettings
from trimtab.gateway import wire
from trimtab.gateway.cycle import CYCLE, Cycle
from trimtab.gateway.letterhead import Letterhead
from trimtab.gateway.live import Live
from trimtab.gateway.metrics import Counter
from trimtab.gateway.passthrough import is_passed_on

# What came so far of a request: nothing ever, nothing, a part of its head, a part of its body.
_NEW, _IDLE, _HEAD, _BODY = "new", "idle", "head", "body"
# A refused client has this long to read why. Closing at once could take the answer away from it: bytes that nobody
# has read make the system reset the connection.
_LINGER_S = 1.0


class _TooLarge(Exception):
    """Stops the parser; what the client is told is in `Connection._refuse`."""


class Connection(HttpToolsProtocol):
    """One client's connection. `live.bounds` are its limits, read anew for each request; `refused` counts by reason."""

    def __init__(self, live: Live, refused: Counter, **given: Any) -> None:
        super().__init__(**given)
        self._live = live
        self._refused = refused
        self._phase = _NEW
        self._watched = _NEW
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._messages = 0
        # Bytes of the part under way that came before, and those that are being read just now.
        self._fed = 0
        self._feeding = 0
        self._length = b""
        self._letterhead = Letterhead()
        self._too_large = False
        self._leaving = False
        self._passed_on = False
        self._rests_since: float | None = None

    @property
    def bounds(self) -> GatewaySettings:
        return self._live.bounds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.bounds.header_s, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._unread, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.lose()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            return
        before, messages = self._phase, self._messages
        self._feeding = len(data)
        self._rests_since = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        except httptools.HttpParserUpgrade:
            pass  # What a client would like to speak instead is not spoken here.
        if self._phase is before and before is not _IDLE and messages == self._messages:
            self._grow(len(data))
            if self._phase is _BODY and self._passed_on:
                self._watch()
        if self._phase is not self._watched and not self._leaving:
            self._watch()

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._length = b""
        self._phase = _HEAD
        self._messages += 1
        self._fed = 0

    def on_headers_complete(self) -> None:
        if self._fed + self._feeding > self.bounds.max_header_bytes:
            # Some of it may be a body, or another request.
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.bounds.max_header_bytes:
                self._too_large = True
                raise _TooLarge
        self._phase = _BODY
        self._fed = 0
        raw_path, _, query = self.url.partition(b"?")
        if not raw_path.startswith(b"/") or b"#" in raw_path:
            parts = httptools.parse_url(self.url)
            raw_path, query = parts.path or b"/", parts.query or b""
        path = raw_path.decode("latin-1")
        if "%" in path:
            path = unquote(path)
        # Files have no size that is too large here, and all the time they need while they come.
        self._passed_on = is_passed_on(path)
        given = tuple(self.headers)
        if self._letterhead != given:
            self._letterhead = Letterhead(given)
        parser = self.parser
        version = parser.get_http_version()
        scope: Any = {
            "type": "http",
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._letterhead,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
        }
        # What comes as a trailer is not part of what was asked.
        self.headers = []
        self._begin(scope, version != "1.0" and parser.should_keep_alive())

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-length":
            self._length = value
            return
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def _begin(self, scope: Any, keep_alive: bool) -> None:
        """Start the request whose headers are there, or queue it behind the one that is being answered."""
        before = self.cycle
        self.cycle = cycle = Cycle(self, scope, self._length, keep_alive)
        scope["extensions"] = {CYCLE: cycle}
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        cycle.task = task = self.loop.create_task(app(cycle.scope, cycle.receive, cycle.send))
        self.tasks.add(task)
        task.add_done_callback(cycle.ended)

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._phase = _IDLE
        cycle: Any = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """What uvicorn does here, with one clock for a connection's rests instead of a new one for each."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._rests_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._rest(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """The connection is lost."""
        self._rests_since = None

    def _rest(self, limit_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(limit_s, self._rested)

    def _rested(self) -> None:
        """Close a connection that has rested for long enough."""
        self.timeout_keep_alive_task = None
        if self._rests_since is None or self.transport.is_closing():
            return
        left = self.timeout_keep_alive - (self.loop.time() - self._rests_since)
        if left <= 0:
            self.transport.close()
        else:
            self._rest(left)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.bounds.unread_s, self._stuck, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for bytes that are no HTTP, and for what our own callbacks stopped."""
        if self._too_large:
            return self._refuse_size()
        self._refuse(400, "bad_http", "this is not a valid HTTP/1.1 request: check its request line and headers")
        return None

    def _grow(self, size: int) -> None:
        """More of a head or a body that is not whole. The parser hands headers and trailers over whole: one that does
        not end would grow in its memory."""
        self._fed += size
        bounds = self.bounds
        if self._phase is _HEAD and self._fed > bounds.max_header_bytes:
            self._refuse_size()
        # Where the answer is whole already, it is the refusal, and the client may not have read it yet.
        unanswered = self.cycle is not None and not self.cycle.response_complete
        if (
            self._phase is _BODY
            and unanswered
            and not self._passed_on
            and self._fed > bounds.max_body_bytes + bounds.max_header_bytes
        ):
            message = f"the request is larger than {bounds.max_body_bytes} bytes (gateway.max_body_bytes): send less"
            self._refuse(413, "body_too_large", message)

    def _watch(self) -> None:
        """Set the clock for what is still to come; more bytes of the same part do not set it back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watched = self._phase
        if self._phase in (_HEAD, _BODY):
            limit_s = self.bounds.header_s if self._phase == _HEAD else self.bounds.body_s
            self._timer = self.loop.call_later(limit_s, self._late)

    def _late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._watched == _NEW:
            # Perhaps a connection opened for later; there is no request to answer.
            self.transport.close()
        elif self._is_answering or (self._passed_on and self.flow.read_paused):
            # Requests one after the other without waiting for answers: reading rests meanwhile, by our own doing.
            self._watch()
        else:
            what, key = ("headers", "header_s") if self._watched == _HEAD else ("body", "body_s")
            limit_s = self.bounds.header_s if self._watched == _HEAD else self.bounds.body_s
            message = f"the request's {what} did not arrive within {limit_s:g} s (gateway.{key}): send it faster"
            self._refuse(408, "too_slow", message)

    @property
    def _is_answering(self) -> bool:
        """Whether an earlier request's answer is not whole yet."""
        return bool(self.pipeline) or (
            self._watched == _HEAD and self.cycle is not None and not self.cycle.response_complete
        )

    def _refuse_size(self) -> None:
        limit = self.bounds.max_header_bytes
        message = f"the request's address and headers are larger than {limit} bytes (gateway.max_header_bytes)"
        self._refuse(431, "headers_too_large", f"{message}: send less")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer in JSON and close; without an answer where that would stand in the middle of another one."""
        self._refused.add((("reason", code),))
        self._leaving = True
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            started = cycle.response_started or bool(self.pipeline) or self._phase == _HEAD
            cycle.lose()
            if started:
                return self.transport.close()
        content = wire.error_body(message, "invalid_request_error", code=code)
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + content)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(_LINGER_S, self.transport.close)
        return None

    def _stuck(self, waited_with: int) -> None:
        """The client does not read its answer. Slow is no offence; standing still is."""
        left = self.transport.get_write_buffer_size()
        if left < waited_with:
            self._unread = self.loop.call_later(self.bounds.unread_s, self._stuck, left)
        else:
            self._refused.add((("reason", "unread"),))
            self.transport.abort()
