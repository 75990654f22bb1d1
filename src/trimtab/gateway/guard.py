"""Guard: what no request may be, whichever path it asks for. Knows no models and no sockets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from trimtab.errors import RequestRefused

# Deeper than any real request, and far from where a decoder of any language gives up.
MAX_DEPTH = 128
# The closing quote is optional, so that a string without its end is passed over once and not from each of its quotes.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def check_headers(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """RequestRefused 415 where the body is packed: what it unpacks to has no bound."""
    for name, held in headers:
        if name == b"content-encoding" and held.strip().lower() not in (b"", b"identity"):
            message = "the request body is packed (Content-Encoding): send it as it is"
            raise RequestRefused(message, status=415, param="content-encoding", code="unsupported_encoding")


def check_json(body: bytes) -> None:
    """RequestRefused 400 where `body` is no UTF-8, or nests deeper than `MAX_DEPTH`."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            message = f"the request body is not UTF-8 (byte {error.start}): encode it so"
            raise RequestRefused(message, code="invalid_utf8") from error
    if is_deeper(body, MAX_DEPTH):
        message = f"the request body nests deeper than {MAX_DEPTH} levels: flatten it"
        raise RequestRefused(message, code="nested_too_deeply")


def check_choices(n: Any, limit: int) -> None:
    """RequestRefused 400 where `n`, the number of answers asked for, is no whole number from 1 to `limit`.

    Texts and fractions are refused as well, because servers differ on what they make of them.
    """
    if n is not None and not (type(n) is int and 1 <= n <= limit):
        message = f"'n' must be a whole number from 1 to {limit}: ask for fewer answers, or raise gateway.max_n"
        raise RequestRefused(message, param="n", code="too_many_choices")


def is_deeper(body: bytes, limit: int) -> bool:
    """Whether the brackets of the JSON text `body` nest deeper than `limit`; in a time that grows with its length.

    Few brackets cannot nest deeply. Else strings are taken out, and the innermost pairs, one level at a time. For a
    text that is no JSON the answer means nothing.
    """
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    marks = _STRING.sub(b"", body).translate(_AS_SQUARE, _NO_BRACKETS)
    for _ in range(limit):
        if b"[]" not in marks:
            break
        marks = marks.replace(b"[]", b"")
    return b"[]" in marks or marks.count(b"[") > limit
