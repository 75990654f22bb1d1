"""Messages put into responses and back: by way of chat, with what is refused named as the client wrote it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from trimtab.errors import RequestRefused
from trimtab.gateway.dialects.crossing import Asked, Crossing, Turning
from trimtab.gateway.dialects.protocol import Dialect
from trimtab.gateway.dialects.translate_from_chat import MESSAGES_TO_CHAT
from trimtab.gateway.dialects.translate_from_messages import CHAT_TO_MESSAGES
from trimtab.gateway.dialects.translate_from_responses import CHAT_TO_RESPONSES
from trimtab.gateway.dialects.translate_responses_answer import RESPONSES_TO_CHAT

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_TURN = re.compile(r"messages\[\d+\]")

Translate = Callable[[list[Any]], dict[str, Any]]


class Words(msgspec.Struct, frozen=True):
    """How the clients' own dialect calls what chat calls otherwise.

    `name` is that of the dialect, `turns` its list of what was said, `members` its members by chat's, and `parts` the
    ends of paths within one turn likewise.
    """

    name: str
    turns: str
    members: Mapping[str, str]
    parts: Mapping[str, str]


class ThroughChat:
    """Clients of one dialect at endpoints of another: `outer` leads to chat, `inner` from there to the endpoint.

    What either cannot say is refused, so nothing is lost that two single crossings would keep.
    """

    def __init__(self, outer: Crossing, inner: Crossing, words: Words) -> None:
        self.to: Dialect = inner.to
        self._outer = outer
        self._inner = inner
        self._words = words

    def request(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            chat = self._outer.request(body)
        except RequestRefused as refused:
            raise _reworded(refused, f"into {self.to.name}:", refused.param) from refused
        try:
            return self._inner.request(chat)
        except RequestRefused as refused:
            param = self._origin(refused.param or "", body, chat)
            raise _reworded(refused, f"into {self.to.name}:", param) from refused

    def answer(self, body: dict[str, Any], asked: Asked) -> dict[str, Any]:
        try:
            return self._outer.answer(self._inner.answer(body, asked), asked)
        except RequestRefused as refused:
            raise self._untold(refused) from refused

    def turning(self, asked: Asked) -> Turning:
        return _Turning(self._inner.turning(asked), self._outer.turning(asked), self._untold)

    def encode(self, event: dict[str, Any]) -> bytes:
        return self._outer.encode(event)

    def _untold(self, refused: RequestRefused) -> RequestRefused:
        message = str(refused).replace("which chat has", f"which {self._words.name} has")
        return RequestRefused(message, param=refused.param, code=refused.code)

    def _origin(self, path: str, body: dict[str, Any], chat: dict[str, Any]) -> str:
        """What the client wrote that became `path` in `chat`."""
        turn = _TURN.match(path)
        if turn is None:
            return _renamed(path, self._words.members)
        turns = body.get(self._words.turns)
        if not isinstance(turns, list):
            return self._words.turns
        place = _first(path, turns, chat, lambda some: self._outer.request({**body, self._words.turns: some}))
        if path.endswith(".reasoning_content"):
            # A thought is an item of its own, before what it led to.
            place = max((at for at, item in enumerate(turns[: place + 1]) if _is_thought(item)), default=place)
        head = "instructions" if place < 0 else f"{self._words.turns}[{place}]"
        return head + _renamed(path[turn.end() :], self._words.parts)


class _Turning:
    """Two streams that are turned one after the other. An event of chat without members is its end mark."""

    def __init__(self, inner: Turning, outer: Turning, untold: Callable[[RequestRefused], RequestRefused]) -> None:
        self._inner = inner
        self._outer = outer
        self._untold = untold

    def add(self, chunk: dict[str, Any]) -> Iterator[dict[str, Any]]:
        try:
            for event in self._inner.add(chunk):
                yield from self._outer.add(event) if event else self._outer.end()
        except RequestRefused as refused:
            raise self._untold(refused) from refused

    def end(self) -> Iterator[dict[str, Any]]:
        """A whole stream has had its end mark; one without it is none, and gets no end."""
        return iter(())


def _first(path: str, turns: list[Any], chat: dict[str, Any], translate: Translate) -> int:
    """The place of the turn that brought `path` into `chat`: the first turns up to it have it, those before have not.

    -1 where it is there without any of them.
    """
    depth = _depth(path, chat)
    low, high = -1, len(turns) - 1
    while low < high:
        middle = (low + high) // 2
        if _depth(path, translate(turns[: middle + 1])) >= depth:
            high = middle
        else:
            low = middle + 1
    return low


def _is_thought(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "reasoning"


def _depth(path: str, held: Any) -> int:
    """How many steps of `path` there are in `held`."""
    for depth, (name, place) in enumerate(_STEP.findall(path)):
        if name and isinstance(held, dict) and name in held:
            held = held[name]
        elif place and isinstance(held, list) and int(place) < len(held):
            held = held[int(place)]
        else:
            return depth
    return len(_STEP.findall(path))


def _renamed(path: str, names: Mapping[str, str]) -> str:
    """`path` with the first of `names` that it ends in, or begins with, put into the client's words."""
    for pattern, name in names.items():
        path, changed = re.subn(pattern, name, path, count=1)
        if changed:
            break
    return path


def _reworded(refused: RequestRefused, into: str, param: str | None) -> RequestRefused:
    message = str(refused).replace("into chat:", into)
    if refused.param and param and param != refused.param:
        message = message.replace(refused.param, param, 1)
    return RequestRefused(message, param=param, code=refused.code)


_MESSAGES = Words("messages", "messages", {r"^stop\b": "stop_sequences", r"^user\b": "metadata.user_id"}, {})
_RESPONSES = Words(
    "responses",
    "input",
    {
        r"^response_format\.json_schema\b": "text.format",
        r"^response_format\b": "text.format",
        r"^verbosity\b": "text.verbosity",
        r"^reasoning_effort\b": "reasoning.effort",
        r"^max_completion_tokens\b": "max_output_tokens",
        r"^(tools\[\d+\]|tool_choice)\.function\b": r"\1",
    },
    {
        r"\.image_url\.url$": ".image_url",
        r"\.(?:image_url|file)\.(\w+)$": r".\1",
        r"^\.tool_calls\[\d+\](?:\.function)?": "",
        r"^\.reasoning_content$": "",
    },
)

MESSAGES_TO_RESPONSES = ThroughChat(MESSAGES_TO_CHAT, CHAT_TO_RESPONSES, _MESSAGES)
RESPONSES_TO_MESSAGES = ThroughChat(RESPONSES_TO_CHAT, CHAT_TO_MESSAGES, _RESPONSES)
