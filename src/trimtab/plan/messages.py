"""What the bodies of a call say: the pieces of its prompt, tool calls asked for, the answer's text, a request's digest.

Bodies come from outside and may be of any shape: what cannot be read is skipped, never an error. OpenAI's chat and
responses and Anthropic's messages are known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trimtab.trace import EncodedPayload, Payload, json_value

_canonical = msgspec.json.Encoder(order="deterministic")
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
# Members of a request that the model reads, in the order in which it does.
_FIRST = ("tools", "system", "instructions")
_TURNS = ("messages", "input", "prompt")
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError, TypeError, ValueError)


class ToolCall(msgspec.Struct, frozen=True):
    """One tool call of an answer; `arguments` are canonical JSON, so that equal arguments are equal text."""

    id: str
    name: str
    arguments: str


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a prompt: `role` is definition (a tool's), system, user, assistant or tool (a result). `size` is its
    bytes as JSON, `key` equal for equal JSON. A tool's result names the call it answers; `failed` marks an error."""

    role: str
    text: str
    size: int
    key: int
    name: str = ""
    call_id: str = ""
    failed: bool = False
    calls: tuple[ToolCall, ...] = ()


class Bodies(msgspec.Struct, frozen=True):
    """A call's bodies, read. `answered` is whether there was an answer; `size` sums the pieces."""

    pieces: tuple[Piece, ...] = ()
    asked: tuple[ToolCall, ...] = ()
    text: str = ""
    answered: bool = False
    size: int = 0


Known = dict[bytes, tuple[Piece, ...]]


def read(payload: Payload | EncodedPayload | None, known: Known) -> Bodies | None:
    """The bodies of one call; None where there are none. `known` keeps items already read: histories repeat them."""
    if payload is None:
        return None
    try:
        pieces = tuple(_pieces(payload.request, known))
        answer = _answer(payload)
    except _UNREADABLE:
        return None
    asked = () if answer is None else tuple(_asked(answer))
    text = "" if answer is None else _said(answer)
    return Bodies(pieces, asked, text, answer is not None, sum(piece.size for piece in pieces))


def digest(request: Mapping[str, Any]) -> int:
    """Equal for two requests with the same model and the same that it reads, whatever the order of the request's
    members (bodies not decoded are compared as they came); 0 where the request has nothing to read."""
    hashed = hashlib.blake2b(_encoded(request.get("model")), digest_size=8)
    found = False
    for name in (*_FIRST, *_TURNS):
        value = request.get(name)
        if value is not None:
            found |= name in _TURNS
            encoded = _encoded(value)
            hashed.update(b"\0%b\0" % name.encode())
            hashed.update(encoded)
    return (int.from_bytes(hashed.digest(), "little") >> 1 or 1) if found else 0


def block_ids(request: Mapping[str, Any]) -> list[int] | None:
    """The ids of the prompt's blocks, where a length-only trace gives these in place of a prompt."""
    ids = request.get("hash_ids")
    if isinstance(ids, msgspec.Raw):
        ids = json_value(ids)
    if not isinstance(ids, list):
        return None
    return [each for each in ids if type(each) is int]


def common(one: str, other: str) -> int:
    """How many characters both begin with."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle)
    return low


def weight(payload: Payload | EncodedPayload | None) -> int:
    """About how many bytes the bodies take."""
    if not isinstance(payload, EncodedPayload):
        return 0
    return sum(len(memoryview(text)) for body in (payload.request, payload.response or {}) for text in body.values())


def _encoded(value: Any) -> bytes:
    return bytes(value) if isinstance(value, msgspec.Raw) else _canonical.encode(value)


def _value(body: Mapping[str, Any], name: str) -> Any:
    value = body.get(name)
    return json_value(value) if isinstance(value, msgspec.Raw) else value


def _pieces(request: Mapping[str, Any], known: Known) -> Iterator[Piece]:
    for name in (*_FIRST, *_TURNS):
        for item in _items(request.get(name)):
            key = name[:1].encode() + item
            pieces = known.get(key)
            if pieces is None:
                pieces = known[key] = tuple(_read(name, item))
            yield from pieces


def _items(value: Any) -> Iterator[bytes]:
    """The JSON texts of a list's items; of anything else that is not null its own."""
    if isinstance(value, msgspec.Raw):
        text = bytes(value)
        if text.lstrip()[:1] == b"[":
            yield from map(bytes, _ITEMS.decode(text))
        elif text != b"null":
            yield text
    elif isinstance(value, list):
        yield from map(msgspec.json.encode, value)
    elif value is not None:
        yield msgspec.json.encode(value)


def _read(name: str, item: bytes) -> Iterator[Piece]:
    value, size, key = json_value(item), len(item), hash(item)
    if name == "tools":
        yield Piece(role="definition", text=item.decode("utf-8", "replace"), size=size, key=key, name=_tool_name(value))
    elif name in ("system", "instructions"):
        yield Piece(role="system", text=_text(value), size=size, key=key)
    elif isinstance(value, str):
        yield Piece(role="user", text=value, size=size, key=key)
    elif isinstance(value, Mapping):
        yield from _message(value, size, key)


def _message(message: Mapping[str, Any], size: int, key: int) -> Iterator[Piece]:
    role = message.get("role")
    content = message.get("content")
    if role == "tool" or message.get("type") == "function_call_output":
        text = _text(content if role == "tool" else message.get("output"))
        call_id = str(message.get("tool_call_id") or message.get("call_id") or "")
        yield Piece(role="tool", text=text, size=len(text.encode()), key=key, call_id=call_id, failed=_is_error(text))
        return
    results = [block for block in _mappings(content) if block.get("type") == "tool_result"]
    for block in results:
        text = _text(block.get("content"))
        failed = block.get("is_error") is True or _is_error(text)
        call_id = str(block.get("tool_use_id", ""))
        length = len(text.encode("utf-8", "replace"))
        size -= length
        yield Piece(role="tool", text=text, size=length, key=hash((call_id, text)), call_id=call_id, failed=failed)
    said = _text([block for block in _mappings(content) if block not in results]) if results else _text(content)
    if said or not results:
        known = role if role in ("user", "assistant") else "system" if role in ("system", "developer") else "assistant"
        calls = tuple(_asked_in(message))
        yield Piece(role=known, text=said, size=max(0, size), key=key, calls=calls)


def _answer(payload: Payload | EncodedPayload) -> dict[str, Any] | None:
    """The members of the answer that say something."""
    if payload.response is None:
        return None
    names = ("choices", "content", "output")
    return {name: _value(payload.response, name) for name in names if name in payload.response}


def _asked(answer: Mapping[str, Any]) -> Iterator[ToolCall]:
    message = next(_mappings(answer.get("choices")), {}).get("message")
    yield from _asked_in(message if isinstance(message, Mapping) else answer)


def _asked_in(message: Mapping[str, Any]) -> Iterator[ToolCall]:
    """Tool calls in any of the three shapes."""
    for call in _mappings(message.get("tool_calls")):
        function = call.get("function")
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            yield ToolCall(str(call.get("id", "")), function["name"], _arguments(function.get("arguments")))
    for block in _mappings(message.get("content")):
        if block.get("type") == "tool_use" and isinstance(block.get("name"), str):
            yield ToolCall(str(block.get("id", "")), block["name"], _arguments(block.get("input")))
    items = (message,) if message.get("type") == "function_call" else _mappings(message.get("output"))
    for item in items:
        if item.get("type") == "function_call" and isinstance(item.get("name"), str):
            yield ToolCall(str(item.get("call_id", "")), item["name"], _arguments(item.get("arguments")))


def _said(answer: Mapping[str, Any]) -> str:
    message = next(_mappings(answer.get("choices")), {}).get("message")
    if isinstance(message, Mapping):
        return _text(message.get("content"))
    if "content" in answer:
        return _text(answer["content"])
    return " ".join(text for item in _mappings(answer.get("output")) if (text := _text(item.get("content"))))


def _text(content: Any) -> str:
    """Plain text as it is, the texts of a list of blocks together, anything else as JSON; '' for nothing."""
    if isinstance(content, str):
        return content
    if not content:
        return ""
    blocks = [content] if isinstance(content, Mapping) else list(_mappings(content))
    texts = [block["text"] for block in blocks if isinstance(block.get("text"), str)]
    if texts or isinstance(content, list):
        return "\n".join(texts)
    return _canonical.encode(content).decode()


def _tool_name(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ""
    function = value.get("function")
    name = function.get("name") if isinstance(function, Mapping) else value.get("name")
    return name if isinstance(name, str) else ""


def _arguments(value: Any) -> str:
    """Canonical JSON of the arguments; text that is not JSON is kept as it is."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return str(value)
    return _canonical.encode(value).decode()


def _is_error(text: str) -> bool:
    """A JSON object with a non-empty `error`, or plain text that begins with the word error."""
    start = text.lstrip()[:16].lower()
    if not start.startswith("{"):
        return start.startswith("error")
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return isinstance(value, dict) and bool(value.get("error"))


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from (item for item in value if isinstance(item, Mapping))
