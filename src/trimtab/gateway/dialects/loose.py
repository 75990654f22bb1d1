"""Loose reading of answers from outside: what is of another shape counts as not there; what cannot be told is named."""

from __future__ import annotations

from typing import Any

from trimtab.errors import RequestRefused


def string(held: Any) -> str:
    return held if isinstance(held, str) else ""


def members(held: Any) -> dict[str, Any]:
    return held if isinstance(held, dict) else {}


def objects(held: Any) -> list[dict[str, Any]]:
    """The objects in a list."""
    return [each for each in held if isinstance(each, dict)] if isinstance(held, list) else []


def untold(what: str, into: str) -> RequestRefused:
    """The error for an answer that holds what the dialect `into` has no word for."""
    message = f"the answer has {what}, which {into} has no word for: ask in the dialect of its endpoint"
    return RequestRefused(message, code="not_translatable")


def one_choice(body: dict[str, Any], into: str) -> dict[str, Any]:
    """The one choice of a chat answer or chunk; other dialects cannot ask for more."""
    choices = body.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise untold("not one choice", into)
    choice: dict[str, Any] = choices[0]
    return choice
