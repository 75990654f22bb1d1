"""The API's JSON: whole answers, stream chunks and errors, for chat and text completions.

A stream's chunks share all but a few bytes, so those are written once for each answer.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import msgspec

from trimtab.engines.answer import Answer, Delta
from trimtab.engines.served import Served
from trimtab.engines.toolcalls import ToolCall
from trimtab.errors import TrimtabError

DONE = b"data: [DONE]\n\n"
_json = msgspec.json.Encoder().encode


def error_body(error: TrimtabError) -> dict[str, Any]:
    """An error as the API writes it."""
    return {
        "error": {
            "message": str(error),
            "type": getattr(error, "kind", "server_error"),
            "param": getattr(error, "param", None),
            "code": getattr(error, "code", None),
        }
    }


def error_event(error: TrimtabError) -> bytes:
    """An error inside a stream that has begun."""
    return b"data: " + _json(error_body(error)) + b"\n\n"


class Chat:
    """Writes the answers of POST /v1/chat/completions."""

    def __init__(self, served: Served, *, include_usage: bool = False, top_logprobs: int = 0) -> None:
        self._served = served
        self._top = top_logprobs
        self._calls = 0
        self._head = _head("chatcmpl-", "chat.completion", served)
        self._usage_too = include_usage
        opening = _json({**self._head, "object": "chat.completion.chunk"})[:-1]
        self._open = b"data: " + opening + b',"choices":[{"index":0,"delta":'
        self._last = b'}],"usage":null}\n\n' if include_usage else b"}]}\n\n"
        self._bare = opening

    def opening(self) -> bytes:
        """The first chunk, which names the role."""
        return self._chunk(b'{"role":"assistant","content":""}', b"null", b"null")

    def chunks(self, delta: Delta) -> bytes:
        """Every event of one delta, in one piece."""
        parts = []
        logprobs = _json(self._logprobs(delta)) if delta.logprobs else b"null"
        for said in delta.said:
            inner = b'{"content":' + _json(said) + b"}" if isinstance(said, str) else self._call_delta(said)
            parts.append(self._chunk(inner, logprobs, b"null"))
            logprobs = b"null"
        if logprobs != b"null" and not delta.finish:
            parts.append(self._chunk(b'{"content":""}', logprobs, b"null"))
            logprobs = b"null"
        if delta.finish:
            parts.append(self._chunk(b"{}", logprobs, _json(delta.finish)))
        return b"".join(parts)

    def closing(self, answer: Answer) -> bytes:
        """Usage, if it was asked for, and the end mark."""
        if not self._usage_too:
            return DONE
        return b"data: " + self._bare + b',"choices":[],"usage":' + _json(usage(answer)) + b"}\n\n" + DONE

    def whole(self, delta: Delta, answer: Answer) -> bytes:
        """The answer of a request that is not streamed."""
        text = "".join(said for said in delta.said if isinstance(said, str))
        calls = [said for said in delta.said if isinstance(said, ToolCall)]
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
        if calls:
            message["tool_calls"] = [_call(call) for call in calls]
        logprobs = self._logprobs(delta) if delta.logprobs else None
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": delta.finish}
        return _json({**self._head, "choices": [choice], "usage": usage(answer)})

    def _chunk(self, delta: bytes, logprobs: bytes, finish: bytes) -> bytes:
        return self._open + delta + b',"logprobs":' + logprobs + b',"finish_reason":' + finish + self._last

    def _call_delta(self, call: ToolCall) -> bytes:
        inner = _json({"tool_calls": [{"index": self._calls, **_call(call)}]})
        self._calls += 1
        return inner

    def _logprobs(self, delta: Delta) -> dict[str, Any]:
        entries = []
        for number, logprob in delta.logprobs:
            piece = self._served.codec.piece(number)
            entry = {"token": piece.decode(errors="replace"), "logprob": logprob, "bytes": list(piece)}
            entries.append({**entry, "top_logprobs": [entry] if self._top else []})
        return {"content": entries, "refusal": None}


class Text:
    """Writes the answers of POST /v1/completions."""

    def __init__(self, served: Served, *, include_usage: bool = False) -> None:
        self._served = served
        self._head = _head("cmpl-", "text_completion", served)
        self._usage_too = include_usage

    def opening(self) -> bytes:
        """Nothing comes before the first text."""
        return b""

    def chunks(self, delta: Delta) -> bytes:
        """One event for one delta; none where nothing was said yet."""
        if not (delta.said or delta.finish or delta.logprobs):
            return b""
        more = {"usage": None} if self._usage_too else {}
        return b"data: " + _json({**self._head, "choices": [self._choice(delta)], **more}) + b"\n\n"

    def closing(self, answer: Answer) -> bytes:
        """Usage, if it was asked for, and the end mark."""
        if not self._usage_too:
            return DONE
        return b"data: " + _json({**self._head, "choices": [], "usage": usage(answer)}) + b"\n\n" + DONE

    def whole(self, delta: Delta, answer: Answer) -> bytes:
        """The answer of a request that is not streamed."""
        return _json({**self._head, "choices": [self._choice(delta)], "usage": usage(answer)})

    def _choice(self, delta: Delta) -> dict[str, Any]:
        logprobs: dict[str, Any] | None = None
        if delta.logprobs:
            tokens = [self._served.codec.piece(number).decode(errors="replace") for number, _ in delta.logprobs]
            logprobs = {"tokens": tokens, "token_logprobs": [logprob for _, logprob in delta.logprobs]}
        text = "".join(said for said in delta.said if isinstance(said, str))
        return {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": delta.finish}


def usage(answer: Answer) -> dict[str, Any]:
    """Tokens of one request; the cached part of the prompt is an estimate (see `prefix`), so is what was drafted."""
    drafted, taken = answer.drafted_tokens, answer.taken_tokens
    details = {"accepted_prediction_tokens": taken, "rejected_prediction_tokens": drafted - taken}
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
        **({"completion_tokens_details": details} if drafted else {}),
    }


def _head(prefix: str, kind: str, served: Served) -> dict[str, Any]:
    return {
        "id": prefix + secrets.token_hex(12),
        "object": kind,
        "created": int(time.time()),
        "model": served.name,
        "system_fingerprint": served.fingerprint,
    }


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": "call_" + secrets.token_hex(8), "type": "function", "function": function}
