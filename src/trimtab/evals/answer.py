"""An answer as judges see it: text, tool calls, refusal, log-probabilities. Reads what any server may have sent."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from trimtab.evals.suite import unencodable


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call that the model asks for. `arguments` are decoded; where they are no JSON object they are None and
    `malformed` is the text that came."""

    name: str
    arguments: dict[str, Any] | None = None
    malformed: str = ""


class TokenChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    """One token of the answer with the natural logarithm of its probability, and those of the likeliest."""

    token: str
    logprob: float
    top: dict[str, float] = {}


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model said. `refusal` is its own word for declining, where the provider gives it apart."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = ""
    refusal: str = ""
    tokens: tuple[TokenChoice, ...] = ()

    @property
    def words(self) -> list[str]:
        return self.text.split()


def of(whole: Any) -> Answer | None:
    """The first choice of a `chat.completion`; None where there is no choice with a message."""
    choices = whole.get("choices") if isinstance(whole, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return None
    calls = message.get("tool_calls")
    return Answer(
        text=_text(message.get("content")),
        tool_calls=tuple(_call(call) for call in calls) if isinstance(calls, list) else (),
        finish_reason=_text(choice.get("finish_reason")),
        refusal=_text(message.get("refusal")),
        tokens=_tokens(choice.get("logprobs")),
    )


def _text(content: Any) -> str:
    """Text, or the texts of the parts that a message may be cut into; without halves of surrogate pairs."""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if isinstance(part, dict) and type(part.get("text")) is str)
    if not isinstance(content, str):
        return ""
    return content.encode(errors="replace").decode()


def _call(call: Any) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return ToolCall("", malformed=_text(str(call)[:200]) or "empty")
    name, given = _text(function.get("name")), function.get("arguments")
    if given is None or given == "":
        return ToolCall(name, {})
    try:
        # Some servers give an object, where text is the rule.
        value = given if isinstance(given, dict) else json.loads(given, parse_constant=_refused)
    except (ValueError, TypeError, RecursionError):
        value = None
    if not isinstance(value, dict) or unencodable(value):
        return ToolCall(name, malformed=_text(str(given)[:2000]) or "empty")
    return ToolCall(name, value)


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _tokens(logprobs: Any) -> tuple[TokenChoice, ...]:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    found = []
    for each in content if isinstance(content, list) else ():
        token, logprob = _token(each)
        if token is None:
            return ()  # With a hole in it, positions would not be those of the answer.
        top = each.get("top_logprobs")
        pairs = [_token(other) for other in top] if isinstance(top, list) else []
        found.append(TokenChoice(token, logprob, {name: held for name, held in pairs if name is not None}))
    return tuple(found)


def _token(each: Any) -> tuple[str | None, float]:
    token, logprob = (each.get("token"), each.get("logprob")) if isinstance(each, dict) else (None, None)
    if not isinstance(token, str) or not isinstance(logprob, int | float):
        return None, 0.0
    number = float(logprob) if abs(logprob) < 1e300 else math.nan
    # Some round up to a hair above 0; what is far above it is no probability.
    return (None, 0.0) if not number <= 0.01 else (_text(token), min(number, 0.0))
