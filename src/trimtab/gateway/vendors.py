"""What the clients of other gateways and tracers say of themselves in headers, read into our own fields.

Knows LiteLLM, Helicone, Langfuse, OpenRouter, Claude Code, Codex, Portkey, Bifrost and opencode. Names only: no header
here chooses a model server or a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

# The first header that is there wins. Where its own maker reads several for one field, in that maker's order.
_FIELDS: dict[str, tuple[bytes, ...]] = {
    "workflow": (b"helicone-session-name", b"langfuse_trace_name", b"x-openrouter-title", b"x-title", b"http-referer"),
    "agent": (b"x-openai-subagent",),
    "session": (
        *(b"x-litellm-trace-id", b"x-litellm-session-id", b"helicone-session-id", b"langfuse_session_id"),
        *(b"x-session-id", b"x-claude-code-session-id", b"x-portkey-trace-id", b"x-bf-session-id"),
        *(b"x-opencode-session", b"x-session-affinity"),
    ),
    "user": (
        *(b"x-litellm-customer-id", b"x-litellm-end-user-id", b"helicone-user-id"),
        *(b"langfuse_trace_user_id", b"langfuse_user_id"),
    ),
}
# Codex's own names are words that others use too, so that they count from Codex alone.
_CODEX = (b"session-id", b"session_id", b"thread-id", b"conversation_id")
_LISTS = (b"x-litellm-tags", b"langfuse_tags", b"langfuse_trace_tags")
_OBJECTS = (b"x-litellm-spend-logs-metadata", b"x-portkey-metadata", b"langfuse_trace_metadata")
_SINGLE = {
    b"helicone-session-path": "session-path",
    b"x-claude-code-agent-id": "claude-code-agent",
    b"x-parent-session-id": "parent-session",
}
_PROPERTY = b"helicone-property-"
AGENT = b"user-agent"
# What a client's own name (`User-Agent`) begins with, and the workflow that it is.
_PRODUCTS = ((b"claude-cli/", "claude-code"), (b"codex", "codex"), (b"Codex", "codex"))
_MOST_TAGS = 32

NAMES = frozenset((*(name for names in _FIELDS.values() for name in names), *_CODEX, *_LISTS, *_OBJECTS, *_SINGLE))


def wanted(name: bytes) -> bool:
    """Whether a header of this lower-case name is read here."""
    if name in NAMES or name.startswith(_PROPERTY):
        return True
    return name.startswith(b"x-") and name.endswith(b"-session-id")


def client(agent: bytes) -> str:
    """The workflow that a client is, by its User-Agent; '' where it is none of those known here."""
    return next((named for start, named in _PRODUCTS if agent.startswith(start)), "")


def fields(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """workflow, agent, session and user, as far as `headers` (those that are `wanted`) have them."""
    found: dict[str, str] = {}
    product = client(headers.get(AGENT, b""))
    if product:
        found["workflow"] = product
    for field, names in _FIELDS.items():
        held = next((headers[name] for name in names if headers.get(name)), b"")
        if held:
            found[field] = held.decode("latin-1")
    if "session" not in found and (session := _session(headers, product)):
        found["session"] = session.decode("latin-1")
    if "user" not in found and isinstance(user := _object(headers.get(b"x-portkey-metadata", b"")).get("_user"), str):
        found["user"] = user
    return found


def _session(headers: Mapping[bytes, bytes], product: str) -> bytes:
    """The session's id under a name that is Codex's, or that ends as all such names do."""
    if product == "codex":
        own = next((headers[name] for name in _CODEX if headers.get(name)), b"")
        if own:
            return own
    names = (name for name in headers if name.startswith(b"x-") and name.endswith(b"-session-id"))
    return next((headers[name] for name in names if headers[name] and name not in _SINGLE), b"")


def tags(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Labels of a call: lists, objects of texts and numbers, and single properties; so many at most."""
    found: dict[str, str] = {}
    for name, held in headers.items():
        if name in _LISTS:
            found.update((word, "true") for word in _words(held))
        elif name in _OBJECTS:
            found.update(_plain(_object(held)))
        elif name in _SINGLE or name.startswith(_PROPERTY):
            label = _SINGLE.get(name) or name[len(_PROPERTY) :].decode("latin-1")
            found[label] = held.decode("latin-1")
    return dict(list(found.items())[:_MOST_TAGS])


def _words(held: bytes) -> Iterable[str]:
    """A list, in JSON or with commas."""
    text = held.decode("latin-1").strip()
    if text.startswith("["):
        listed = _decoded(held)
        return [word for word in listed if isinstance(word, str)] if isinstance(listed, list) else ()
    return [word.strip() for word in text.split(",") if word.strip()]


def _plain(members: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, held in members.items():
        if isinstance(held, str):
            yield name, held
        elif isinstance(held, bool | int | float):
            yield name, msgspec.json.encode(held).decode()


def _object(held: bytes) -> dict[str, Any]:
    decoded = _decoded(held) if held else None
    return decoded if isinstance(decoded, dict) else {}


def _decoded(held: bytes) -> Any:
    try:
        return msgspec.json.decode(held)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
