"""The agents' client: plays them by any OpenAI-compatible endpoint, over plain HTTP. Knows no gateway and no engine."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from trimtab.arena.dealership.session import Message
from trimtab.errors import UpstreamError
from trimtab.gateway import sse
from trimtab.gateway.assembly import Assembly


class Target(msgspec.Struct, frozen=True):
    """Where the model is: `url` ends in `/v1`; the key is read from the environment variable `key_env`."""

    url: str
    model: str
    key_env: str = ""
    temperature: float = 0.0
    max_tokens: int = 256
    stream: bool = True
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port beyond 65535, a bracket left open
            good = False
        if not good:
            raise UpstreamError(f"'{self.url}' is no address of an endpoint: write it like http://127.0.0.1:8400/v1")


class Used(msgspec.Struct):
    """What one session has used so far. `by_server` has the tokens (input, output, cached) by who answered, as the
    gateway and the answer name it: (endpoint, model). `slowest_first_s` is the longest wait for a stream's first chunk.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    slowest_first_s: float = 0.0
    by_server: dict[tuple[str, str], tuple[int, int, int]] = {}


class Function(msgspec.Struct):
    """What a tool call names; some servers give the arguments as an object, where text is the rule."""

    name: str
    arguments: str | dict[str, Any] | None = None


class ToolCall(msgspec.Struct):
    function: Function
    id: str | None = None


class Told(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct):
    message: Told


class Cached(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Cached | None = None


class Answer(msgspec.Struct):
    """What is read of a chat completion; other fields are left alone."""

    choices: list[Choice]
    usage: Usage | None = None
    model: str | None = None


class Caller:
    """The actor of one session: one chat request per move, with the headers that say whose it is."""

    def __init__(self, http: aiohttp.ClientSession, target: Target, session: str, note: Callable[[str], None]) -> None:
        self._http, self._target, self._session, self._note = http, target, session, note
        self.trace_id = secrets.token_hex(16)
        self._span = secrets.token_hex(8)
        self._endpoint = ""
        self.used = Used()

    async def act(self, agent: str, messages: list[Message], schemas: list[dict[str, Any]]) -> Message:
        """The agent's next message. UpstreamError if the endpoint did not give one."""
        body = {
            "model": self._target.model,
            "messages": messages,
            "tools": schemas,
            "temperature": self._target.temperature,
            "max_tokens": self._target.max_tokens,
        }
        if self._target.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        try:
            whole = await self._ask(body, self._headers(agent))
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            reason = _line(str(error)) or type(error).__name__
            raise UpstreamError(f"{self._target.url} does not answer: {reason}") from error
        answer = _checked(whole)
        self._count(answer.usage or Usage(), answer.model or "")
        message = _message(whole, answer.choices[0].message)
        self._note(_action(agent, message))
        return message

    def _headers(self, agent: str) -> dict[str, str]:
        headers = {
            "x-trimtab-workflow": "dealership",
            "x-trimtab-agent": agent,
            "x-trimtab-session": self._session,
            "traceparent": f"00-{self.trace_id}-{self._span}-01",
        }
        key = os.environ.get(self._target.key_env, "") if self._target.key_env else ""
        return headers | ({"authorization": f"Bearer {key}"} if key else {})

    async def _ask(self, body: dict[str, Any], headers: dict[str, str]) -> Any:
        """The whole answer as JSON, of whatever shape."""
        url = self._target.url.rstrip("/") + "/chat/completions"
        timeout = aiohttp.ClientTimeout(total=self._target.timeout_s)
        began = time.perf_counter()
        async with self._http.post(url, json=body, headers=headers, timeout=timeout) as response:
            if response.status != 200:
                raise UpstreamError(f"{url} answered {response.status}: {_reason(await response.read())}")
            self._endpoint = response.headers.get("x-trimtab-endpoint", "")
            return (
                await _streamed(response, self._first(began)) if body.get("stream") else _decoded(await response.read())
            )

    def _first(self, began: float) -> Callable[[], None]:
        def heard() -> None:
            self.used.slowest_first_s = max(self.used.slowest_first_s, time.perf_counter() - began)

        return heard

    def _count(self, usage: Usage, model: str) -> None:
        cached = (usage.prompt_tokens_details or Cached()).cached_tokens or 0
        tokens = usage.prompt_tokens or 0, usage.completion_tokens or 0, cached
        self.used.calls += 1
        self.used.input_tokens += tokens[0]
        self.used.output_tokens += tokens[1]
        self.used.cached_tokens += tokens[2]
        server = self._endpoint, model
        before = self.used.by_server.get(server, (0, 0, 0))
        self.used.by_server[server] = before[0] + tokens[0], before[1] + tokens[1], before[2] + tokens[2]


async def _streamed(response: aiohttp.ClientResponse, on_first: Callable[[], None]) -> Any:
    """A streamed answer put together; an error event or an end before the finish reason is an UpstreamError."""
    splitter, assembly = sse.Splitter(), Assembly()
    heard = False
    async for data in response.content.iter_any():
        if not heard:
            heard = True
            on_first()
        for event in splitter.feed(data):
            text = sse.data(event)
            if text is None or text.strip() == b"[DONE]":
                continue
            chunk = _decoded(text)
            if not isinstance(chunk, dict):
                raise UpstreamError(f"the stream holds an event that is no object: {_reason(text)}")
            if chunk.get("error"):
                raise UpstreamError(f"the stream ended with an error: {_reason(text)}")
            assembly.add(chunk)
    if not assembly.finished:
        raise UpstreamError("the stream was cut before the answer was whole")
    return assembly.answer()


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UpstreamError(f"the endpoint sent what is no JSON: {_reason(text)}") from error


def _checked(whole: Any) -> Answer:
    try:
        answer = msgspec.convert(whole, Answer)
    except msgspec.ValidationError as error:
        raise UpstreamError(f"the endpoint's answer is no chat completion: {_line(str(error))}") from error
    if not answer.choices:
        raise UpstreamError("the endpoint gave an answer without choices")
    return answer


def _message(whole: dict[str, Any], told: Told) -> Message:
    """The answer's message as it goes back into the conversation: its tool calls keep fields that nobody here knows."""
    content = told.content or ""
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content)
    message: Message = {"role": "assistant", "content": content}
    calls = told.tool_calls or []
    if calls:
        raw = whole["choices"][0]["message"]["tool_calls"]
        message["tool_calls"] = [
            {
                **held,
                "id": call.id or f"call_{secrets.token_hex(4)}",
                "function": {**held["function"], "arguments": _arguments(call.function)},
            }
            for held, call in zip(raw, calls, strict=True)
        ]
    return message


def _arguments(function: Function) -> str:
    """The arguments as text. Malformed JSON stays as it is, for the tool to refuse; only what no tool could even be
    asked with (half a surrogate pair, bottomless nesting) is an UpstreamError."""
    if isinstance(function.arguments, dict):
        return json.dumps(function.arguments)
    text = function.arguments or ""
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        raise UpstreamError(f"the arguments of {function.name} cannot be read: {type(error).__name__}") from error
    except ValueError:
        pass
    return text


def _reason(text: bytes) -> str:
    """The message of an OpenAI-shaped error body, else the start of the text; one line."""
    try:
        return _line(str(json.loads(text)["error"]["message"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return _line(text.decode(errors="replace")) or "no text"


def _line(text: str) -> str:
    return " ".join(text.split())[:200]


def _action(agent: str, message: Message) -> str:
    calls = message.get("tool_calls")
    return f"{agent}: {calls[0]['function']['name']}" if calls else f"{agent}: {message['content'][:60]}"
