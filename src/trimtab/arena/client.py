"""The agents' client: plays them by any OpenAI-compatible endpoint, over plain HTTP. Knows no gateway and no engine."""

from __future__ import annotations

import json
import os
import secrets
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
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UpstreamError(f"'{self.url}' is no address of an endpoint: write it like http://127.0.0.1:8400/v1")


class Used(msgspec.Struct):
    """What one session has used so far."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


class Caller:
    """The actor of one session: one chat request per move, with the headers that say whose it is."""

    def __init__(self, http: aiohttp.ClientSession, target: Target, session: str, note: Callable[[str], None]) -> None:
        self._http, self._target, self._session, self._note = http, target, session, note
        self.trace_id = secrets.token_hex(16)
        self._span = secrets.token_hex(8)
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
            answer, usage = await self._ask(body, self._headers(agent))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamError(f"{self._target.url} does not answer: {error or type(error).__name__}") from error
        self._count(usage)
        message = {"role": "assistant", "content": answer.get("content") or ""}
        if answer.get("tool_calls"):
            message["tool_calls"] = answer["tool_calls"]
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

    async def _ask(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
        url = self._target.url.rstrip("/") + "/chat/completions"
        timeout = aiohttp.ClientTimeout(total=self._target.timeout_s)
        async with self._http.post(url, json=body, headers=headers, timeout=timeout) as response:
            if response.status != 200:
                raise UpstreamError(f"{url} answered {response.status}: {_reason(await response.text())}")
            whole = await _streamed(response) if body.get("stream") else await response.json()
        choices = whole.get("choices")
        if not choices:
            raise UpstreamError(f"{url} gave an answer without choices")
        return choices[0].get("message") or {}, whole.get("usage") or {}

    def _count(self, usage: dict[str, Any]) -> None:
        self.used.calls += 1
        self.used.input_tokens += int(usage.get("prompt_tokens") or 0)
        self.used.output_tokens += int(usage.get("completion_tokens") or 0)
        self.used.cached_tokens += int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)


async def _streamed(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """A streamed answer put together; an error event or an end before the finish reason is an UpstreamError."""
    splitter, assembly = sse.Splitter(), Assembly()
    async for data in response.content.iter_any():
        for event in splitter.feed(data):
            text = sse.data(event)
            if text is None or text.strip() == b"[DONE]":
                continue
            chunk = json.loads(text)
            if chunk.get("error"):
                raise UpstreamError(f"the stream ended with an error: {_reason(text.decode())}")
            assembly.add(chunk)
    if not assembly.finished:
        raise UpstreamError("the stream was cut before the answer was whole")
    return assembly.answer() or {}


def _reason(text: str) -> str:
    """The message of an OpenAI-shaped error body, else the start of the text."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()[:200] or "no text"


def _action(agent: str, message: Message) -> str:
    calls = message.get("tool_calls")
    return f"{agent}: {calls[0]['function']['name']}" if calls else f"{agent}: {message['content'][:60]}"
