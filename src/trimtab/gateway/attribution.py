"""Who made a call: workflow, agent, session, user, and the trace it belongs to.

For each field the first source that has it wins: own headers > W3C `traceparent` and `baggage` > the body's `metadata`
and `user` > (agent only) a fingerprint of system prompt and tool names, marked `derived`.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from trimtab.gateway import wire

OWN_PREFIX = b"x-trimtab-"
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_MAX_CHARS = 256
_BAGGAGE = {
    "workflow": ("gen_ai.workflow.name",),
    "agent": ("gen_ai.agent.name",),
    "session": ("gen_ai.conversation.id", "session.id"),
    "user": ("user.id", "enduser.id"),
}
_METADATA = {
    "workflow": ("workflow",),
    "agent": ("agent",),
    "session": ("session", "session_id", "conversation_id"),
    "user": ("user", "user_id", "body.user"),
}


class Attribution(msgspec.Struct, frozen=True):
    """`trace_id` 32 and `span_id` 16 hex digits; `parent_id` the caller's span or what it named as parent."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    workflow: str = ""
    agent: str = ""
    session: str = ""
    user: str = ""
    tags: dict[str, str] = {}
    derived: bool = False
    flags: str = "01"

    @property
    def traceparent(self) -> str:
        """What the next service sees: this call as the parent span."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def of(headers: Iterable[tuple[bytes, bytes]], head: wire.Head | None) -> Attribution:
    """Attribution from lower-case `headers` and the decoded `head` (None: a body that could not be read).

    Without a `traceparent`, all calls of one session share a trace id derived from the session's id.
    """
    given = {name.decode("latin-1"): held.decode("latin-1") for name, held in headers}
    baggage = _baggage(given.get("baggage", ""))
    metadata = _metadata(head)
    fields = {name: _first(name, given, baggage, metadata) for name in _BAGGAGE}
    derived = not fields["agent"] and head is not None
    if derived and head is not None:
        fields["agent"] = fingerprint(head)
    trace_id, parent, flags = _trace(given.get("traceparent", ""), fields["session"])
    return Attribution(
        trace_id=trace_id,
        span_id=secrets.token_hex(8),
        parent_id=_clean(given.get("x-trimtab-parent")) or parent,
        tags=_tags(given.get("x-trimtab-tags", "")),
        derived=derived and bool(fields["agent"]),
        flags=flags,
        **fields,
    )


def fingerprint(head: wire.Head) -> str:
    """`fp-` and 12 hex digits of SHA-256 over the system prompt and the tool names; '' where there is neither."""
    messages, tools = wire.value(head.messages), wire.value(head.tools)
    said = [told for raw in (head.system, head.instructions) if (told := wire.value(raw))]
    said += [
        message.get("content")
        for message in (messages if isinstance(messages, list) else ())
        if isinstance(message, dict) and message.get("role") in ("system", "developer")
    ]
    names = [
        function.get("name")
        for tool in (tools if isinstance(tools, list) else ())
        if isinstance(tool, dict) and isinstance(function := tool.get("function", tool), dict)
    ]
    if not said and not names:
        return ""
    return "fp-" + hashlib.sha256(msgspec.json.encode([said, names])).hexdigest()[:12]


def _first(field: str, given: Mapping[str, str], baggage: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    sources = [given.get("x-trimtab-" + field)]
    sources += [baggage.get(name) for name in _BAGGAGE[field]]
    sources += [metadata.get(name) for name in _METADATA[field]]
    return next((clean for source in sources if (clean := _clean(source))), "")


def _clean(text: Any) -> str:
    """One printable line of at most 256 characters."""
    return "".join(char for char in text if char.isprintable()).strip()[:_MAX_CHARS] if isinstance(text, str) else ""


def _trace(traceparent: str, session: str) -> tuple[str, str | None, str]:
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match and match[1] != "ff" and match[2].strip("0") and match[3].strip("0"):
        return match[2], match[3], match[4]
    if session:
        return hashlib.sha256(b"trimtab session " + session.encode()).hexdigest()[:32], None, "01"
    return secrets.token_hex(16), None, "01"


def _baggage(header: str) -> dict[str, str]:
    pairs = (item.split(";", 1)[0].partition("=") for item in header.split(",") if "=" in item)
    return {name.strip(): unquote(held.strip()) for name, _, held in pairs}


def _tags(header: str) -> dict[str, str]:
    """`a=1, b` → {'a': '1', 'b': 'true'}."""
    pairs = (item.partition("=") for item in header.split(",") if item.strip())
    return {_clean(name): _clean(held) if equals else "true" for name, equals, held in pairs}


def _metadata(head: wire.Head | None) -> dict[str, Any]:
    if head is None:
        return {}
    metadata, user = wire.value(head.metadata), wire.value(head.user)
    found = dict(metadata) if isinstance(metadata, dict) else {}
    if isinstance(user, str):
        found["body.user"] = user
    return found
