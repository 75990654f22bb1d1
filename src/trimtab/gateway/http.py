"""The bare ASGI words: reading a body within its limit, and sending plain answers. Knows no models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from trimtab.errors import RequestRefused, TrimtabError
from trimtab.gateway import guard
from trimtab.gateway.cycle import CYCLE
from trimtab.gateway.dialects.chat import CHAT
from trimtab.gateway.dialects.protocol import Dialect
from trimtab.gateway.letterhead import once
from trimtab.gateway.wire import Problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
TEXT = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class ClientGone(Exception):
    """The client hung up before its request was whole."""


async def body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The request's body; RequestRefused 413 above `limit` bytes and 415 where it is packed, ClientGone where the
    client hung up."""
    once(guard.check_headers, scope["headers"])
    cycle = scope["extensions"][CYCLE]
    if cycle.length and int(cycle.length) > limit:
        raise _too_large(limit)
    if (content := cycle.whole()) is not None:
        if len(content) > limit:
            raise _too_large(limit)
        return content  # type: ignore[no-any-return]
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
        if not message.get("more_body"):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def json_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """As `body`, and RequestRefused 400 where it is no UTF-8 or nests too deeply."""
    content = await body(scope, receive, limit)
    guard.check_json(content)
    return content


def _too_large(limit: int) -> RequestRefused:
    message = f"the request body is larger than {limit} bytes: send less, or raise gateway.max_body_bytes"
    return RequestRefused(message, status=413, code="body_too_large")


async def send_body(send: Send, status: int, content: bytes, headers: Headers = (JSON,)) -> None:
    """One whole answer."""
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": content})


async def send_json(send: Send, status: int, value: Any) -> None:
    await send_body(send, status, msgspec.json.encode(value))


def refusal(error: TrimtabError, dialect: Dialect = CHAT) -> tuple[int, bytes]:
    """Status and body of an error of the tree, as clients of `dialect` expect it."""
    status = getattr(error, "status", 500)
    kind = getattr(error, "kind", "upstream_error" if status >= 502 else "server_error")
    param, code = getattr(error, "param", None), getattr(error, "code", None)
    return status, dialect.error_body(Problem(str(error), status, kind, param, code))
