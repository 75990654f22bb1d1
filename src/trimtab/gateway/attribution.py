"""Who made a call: workflow, agent, session, user, and the trace it belongs to.

For each field the first source that has it wins: own headers > W3C `traceparent` and `baggage` > the headers of known
vendors > the body's `metadata` and `user`. `fingerprint` names an agent that nobody named, after the call.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from trimtab.gateway import ids, vendors, wire
from trimtab.gateway.letterhead import once
from trimtab.trace import json_value

OWN_PREFIX = b"x-trimtab-"
_W3C = frozenset((b"traceparent", b"baggage"))
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_CHARS = 256
_MOST_TAGS = 64
_MOST_NAMES = 1000
# W3C: a list of at most so many members; a longer one is cut.
_MOST_MEMBERS = 180
_FIELDS = ("workflow", "agent", "session", "user")
_OWN_FIELDS = tuple((field.encode(), field) for field in _FIELDS)
_BAGGAGE = {
    "workflow": ("gen_ai.workflow.name", "langfuse_trace_name"),
    "agent": ("gen_ai.agent.name",),
    "session": ("gen_ai.conversation.id", "session.id", "langfuse_session_id"),
    "user": ("user.id", "enduser.id", "langfuse_user_id"),
}
_METADATA = {
    "workflow": ("workflow",),
    "agent": ("agent",),
    "session": ("session", "session_id", "conversation_id"),
    "user": ("user", "user_id"),
}
# Claude Code's `metadata.user_id` was once such a text, and is a JSON object in one now.
_WITH_SESSION = re.compile(r"(user_.+?)_session_([0-9a-zA-Z-]+)")
# A word with a digit in it: a date, a count, an id. It makes no other agent. Linear: it begins at a word's start alone.
_FIGURES = re.compile(r"(?<!\w)[^\W\d]*+\d\w*+")

_TELLING = ("system", "instructions", "messages", "input", "tools", "functions")
_EMPTY = msgspec.Raw(b"")
_FINGERPRINTS: dict[int, str] = {}
_MOST_FINGERPRINTS = 4096


class Attribution(msgspec.Struct, frozen=True):
    """`trace_id` 32 and `span_id` 16 hex digits; `parent_id` the caller's span or what it named as parent. `carried`
    is the caller's own `traceparent`, where it is to go on as it came."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    workflow: str = ""
    agent: str = ""
    session: str = ""
    user: str = ""
    tags: dict[str, str] = {}
    flags: str = "01"
    carried: str = ""

    @property
    def traceparent(self) -> str:
        """What the next service sees: this call as the parent span, or the caller's."""
        return self.carried or f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def of(
    headers: Iterable[tuple[bytes, bytes]], head: wire.Head | None, *, spans: bool = True, alone: str = ""
) -> Attribution:
    """Attribution from lower-case `headers` and the decoded `head` (None: a body that could not be read).

    Without a `traceparent`, all calls of one session share a trace id derived from the session's id, and a call without
    either has a trace of its own, `alone` where given. Where no `spans` of ours are exported, a caller's `traceparent`
    goes on as it came: nobody could find a parent of ours.
    """
    own, w3c, foreign = once(_by_kind, headers)
    sources = _sources(own, w3c, foreign, head)
    if not (sources or w3c or own or foreign):
        return Attribution(trace_id=alone or ids.digits(32), span_id=ids.digits(16))
    fields = dict.fromkeys(_FIELDS, "")
    for source in reversed(sources):
        fields.update(source)
    given = _text(w3c.get(b"traceparent")).strip()
    trace_id, parent, flags = _trace(given, fields["session"])
    return Attribution(
        trace_id=trace_id or alone or ids.digits(32),
        span_id=ids.digits(16),
        parent_id=clean(_text(own.get(b"parent"))) or parent,
        tags=_all_tags(own, foreign),
        flags=flags,
        carried=given if parent and not spans else "",
        **fields,
    )


def _by_kind(
    headers: Iterable[tuple[bytes, bytes]],
) -> tuple[dict[bytes, bytes], dict[bytes, bytes], dict[bytes, bytes]]:
    """Our own headers without their prefix, W3C's, and those of known vendors."""
    own: dict[bytes, bytes] = {}
    w3c: dict[bytes, bytes] = {}
    foreign: dict[bytes, bytes] = {}
    for name, held in headers:
        kind = _KINDS[name]
        if kind is None:
            continue
        if kind is OWN_PREFIX:
            own[name[len(OWN_PREFIX) :]] = held
        elif kind is vendors:
            if name != vendors.AGENT or vendors.client(held):
                foreign[name] = held
        else:
            # W3C lets a list come in several headers.
            w3c[name] = w3c[name] + b"," + held if name in w3c else held
    return own, w3c, foreign


class _Kinds(dict[bytes, Any]):
    """Which headers are read, by name: most are not, and the same ones come again and again. Bounded, because clients
    choose the names."""

    def __missing__(self, name: bytes) -> Any:
        kind: Any = None
        if name.startswith(OWN_PREFIX):
            kind = OWN_PREFIX
        elif name in _W3C:
            kind = _W3C
        elif name == vendors.AGENT or vendors.wanted(name):
            kind = vendors
        if len(self) < _MOST_NAMES:
            self[name] = kind
        return kind


_KINDS = _Kinds()


def _sources(
    own: Mapping[bytes, bytes], w3c: Mapping[bytes, bytes], foreign: Mapping[bytes, bytes], head: wire.Head | None
) -> list[dict[str, str]]:
    """What each source says, the first one first: only the fields that it has, cleaned."""
    found: list[Mapping[str, Any]] = []
    if own:
        found.append({field: _text(own[name]) for name, field in _OWN_FIELDS if name in own})
    if b"baggage" in w3c:
        found.append(_named(baggage(_text(w3c[b"baggage"])), _BAGGAGE))
    if foreign:
        found.append(vendors.fields(foreign))
    if head is not None and (
        head.metadata or head.user or head.safety_identifier or head.session_id or head.conversation
    ):
        found.append(_body(head))
    if not found:
        return []
    return [{field: text for field, held in source.items() if (text := clean(held))} for source in found]


def fingerprint(body: Mapping[str, Any]) -> str:
    """`fp-` and 12 hex digits of SHA-256 over the system prompt and the tool names of a request in any dialect.

    '' where it has neither. Words with digits in them do not count, so that a date in the prompt makes no other agent.
    """
    said = [text for key in ("system", "instructions") if (text := _said(body.get(key)))]
    for key in ("messages", "input"):
        items = body.get(key)
        said += [
            _said(item.get("content"))
            for item in (items if isinstance(items, list) else ())
            if isinstance(item, dict) and item.get("role") in ("system", "developer")
        ]
    names = [name for key in ("tools", "functions") for name in _tool_names(body.get(key))]
    if not any(said) and not names:
        return ""
    told = [_FIGURES.sub("0", text) for text in said]
    try:
        return "fp-" + hashlib.sha256(msgspec.json.encode([told, names])).hexdigest()[:12]
    except UnicodeEncodeError:
        return ""  # Half a character, which JSON's escapes can write and UTF-8 cannot.


class _Turn(msgspec.Struct):
    """As much of a message as says whether it is a system prompt."""

    role: Any = None
    content: msgspec.Raw = _EMPTY


def fingerprint_of(members: Mapping[str, msgspec.Raw]) -> str:
    """`fingerprint` of a body whose members are JSON texts; what it is told from is decoded once for each agent."""
    try:
        prompts = [_prompts(members[key]) for key in ("messages", "input") if key in members]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return fingerprint(_told(members))
    rest = [bytes(members.get(key, b"")) for key in ("system", "instructions", "tools", "functions")]
    # Only the hash is kept: it is keyed anew in each process, so nobody can make two agents one.
    mark = hash((*rest, *prompts))
    name = _FINGERPRINTS.get(mark)
    if name is None:
        if len(_FINGERPRINTS) >= _MOST_FINGERPRINTS:
            _FINGERPRINTS.clear()
        name = _FINGERPRINTS[mark] = fingerprint(_told(members))
    return name


def _prompts(items: msgspec.Raw) -> tuple[bytes, ...]:
    """The contents of the system prompts among the messages `items`, undecoded; all of what is no list."""
    if memoryview(items)[0] != 0x5B:
        return (bytes(items),)
    return tuple(bytes(turn.content) for turn in _TURNS.decode(items) if turn.role in ("system", "developer"))


def _told(members: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    return {key: json_value(members[key]) for key in _TELLING if key in members}


_TURNS = msgspec.json.Decoder(list[_Turn])


def _said(content: Any) -> str:
    """The text of a prompt, whether it is one text or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str))


def _tool_names(tools: Any) -> Iterable[str]:
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        # A server's own tool has a type alone.
        name = (function.get("name") or function.get("type")) if isinstance(function, dict) else None
        if isinstance(name, str):
            yield name


def clean(text: Any) -> str:
    """One printable line of at most 256 characters; '' for what is no text."""
    if not isinstance(text, str) or not text:
        return ""
    line: str = text if text.isprintable() else "".join(char for char in text if char.isprintable())
    return line.strip()[:_MAX_CHARS]


def _text(held: bytes | None) -> str:
    return held.decode("latin-1") if held else ""


def _trace(traceparent: str, session: str) -> tuple[str, str | None, str]:
    """Trace, parent and flags; the trace is '' where neither the header nor a session says which."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    # Only versions to come may say more than the first one.
    if (
        match
        and match[1] != "ff"
        and not (match[1] == "00" and match[5])
        and match[2].strip("0")
        and match[3].strip("0")
    ):
        return match[2], match[3], f"{int(match[4], 16) & 3:02x}"
    if session:
        return hashlib.sha256(b"trimtab session " + session.encode(errors="replace")).hexdigest()[:32], None, "01"
    return "", None, "01"


def baggage(header: str) -> dict[str, str]:
    """The members of a W3C `baggage` header, decoded, without their properties; what is none is left out."""
    pairs = (item.partition(";")[0].partition("=") for item in header.split(",", _MOST_MEMBERS)[:_MOST_MEMBERS])
    return {name.strip(): unquote(held.strip()) for name, equals, held in pairs if equals and name.strip()}


def _named(held: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The first of its names that each field has in `held`."""
    return {
        field: found for field, known in names.items() if (found := next((held[n] for n in known if held.get(n)), None))
    }


def _all_tags(own: Mapping[bytes, bytes], foreign: Mapping[bytes, bytes]) -> dict[str, str]:
    """The vendors' tags, and over them our own."""
    if not foreign and b"tags" not in own:
        return {}
    theirs = vendors.tags(foreign).items() if foreign else ()
    ours = tags(_text(own.get(b"tags"))).items()
    found = {name: clean(held) for given, held in (*theirs, *ours) if (name := clean(given))}
    return dict(list(found.items())[-_MOST_TAGS:])


def tags(header: str) -> dict[str, str]:
    """`a=1, b` → {'a': '1', 'b': 'true'}."""
    pairs = (item.partition("=") for item in header.split(",") if item.strip())
    return {name.strip(): held if equals else "true" for name, equals, held in pairs}


def _body(head: wire.Head) -> dict[str, Any]:
    """What the body says: its `metadata`, then the fields that single dialects have."""
    metadata = wire.value(head.metadata) if head.metadata else None
    found = _named(metadata, _METADATA) if isinstance(metadata, dict) else {}
    if isinstance(user := found.get("user"), str):
        found.update(
            {field: held for field, held in _claude_code(user).items() if field == "user" or field not in found}
        )
    single = {"user": (head.user, head.safety_identifier), "session": (head.session_id, head.conversation)}
    for field, raws in single.items():
        for raw in raws:
            if raw and not clean(found.get(field)):
                held = wire.value(raw)
                found[field] = held.get("id") if isinstance(held, dict) else held
    return found


def _claude_code(user: str) -> dict[str, str]:
    """User and session out of a `metadata.user_id` that holds both; nothing out of any other."""
    if match := _WITH_SESSION.fullmatch(user):
        return {"user": match[1], "session": match[2]}
    held = wire.value(user.encode(errors="replace")) if user.startswith("{") else None
    if not isinstance(held, dict):
        return {}
    named = {"user": held.get("account_uuid") or held.get("device_id"), "session": held.get("session_id")}
    return {field: text for field, text in named.items() if isinstance(text, str) and text}
