"""Estimates: the tokens of an answer that broke off before its provider counted them, told from bytes. Cheap and rough.

Four bytes of text are taken for one token, which is about right for English prose under today's tokenizers, high for
JSON's own marks and low for Chinese. What a model thought and did not show is in no bytes, so not in the estimate.
"""

from __future__ import annotations

import re
from typing import Any

from trimtab.money import Usage

BYTES_A_TOKEN = 4
# One picture, sound or file inside the request, whatever its size.
INLINE_TOKENS = 1000
_INLINE = re.compile(rb'"(?:data:[^",]{0,200},)?+[A-Za-z0-9+/=_-]{1024,}+"')
# Where the dialects keep what the model said: chat and completions, messages, responses.
_SAID = ("choices", "content", "output")
# Members of an answer that hold no text of the model's.
_NO_TEXT = frozenset(
    {"role", "id", "type", "index", "finish_reason", "logprobs", "status", "call_id", "signature", "encrypted_content"}
)


def usage(request: bytes, answer: Any) -> Usage:
    """The usage of a request's body and of so much of its answer as there is (its plain shape, None for nothing)."""
    text, inline = _INLINE.subn(b"", request)
    said = [answer.get(name) for name in _SAID] if isinstance(answer, dict) else None
    return Usage(
        input_tokens=_tokens(len(text)) + inline * INLINE_TOKENS,
        output_tokens=_tokens(_text_bytes(said)),
        estimated=True,
    )


def _tokens(size: int) -> int:
    return -(-size // BYTES_A_TOKEN)


def _text_bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list):
        return sum(map(_text_bytes, value))
    if isinstance(value, dict):
        return sum(_text_bytes(held) for name, held in value.items() if name not in _NO_TEXT)
    return 0
