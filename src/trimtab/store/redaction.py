"""What never reaches the disk: keys, tokens and private keys in any string of a body; if wished, personal data too.

Structured secrets only. Every pattern runs in linear time: no pattern can start twice in one run of characters without
having consumed it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import msgspec

from trimtab.store import personal
from trimtab.trace import Payload, Record

# Names whose value is a secret, joined by nothing, "_" or "-".
_PAIRS = (
    ("api", "key"),
    ("secret", "key"),
    ("access", "key"),
    ("access", "token"),
    ("auth", "token"),
    ("client", "secret"),
)
_NAMES = ("password", *(first + joint + second for first, second in _PAIRS for joint in ("", "_", "-")))
_NAMED_FIELDS = {*_NAMES, "authorization", "x-api-key", "aws_secret_access_key"}


class _Secret(NamedTuple):
    """One kind of secret. `needles` are words without which `pattern` cannot match, in lower case; group 1 of the
    pattern, where there is one, is kept."""

    label: str
    needles: tuple[str, ...]
    pattern: re.Pattern[str]


_VENDORS = (
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "hf_",
    "xoxa-",
    "xoxb-",
    "xoxp-",
    "xoxr-",
    "xoxs-",
)
_BASE64 = "[A-Za-z0-9_-]"
_SECRETS = (
    _Secret(
        "api-key",
        tuple(kind + joint for kind in ("sk", "pk", "rk") for joint in "-_"),
        re.compile(r"(?<![A-Za-z0-9])(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,512}"),
    ),
    _Secret("api-key", _VENDORS, re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_VENDORS)})[A-Za-z0-9_-]{{16,512}}")),
    # The gateway's own virtual keys (`gateway.keys`), which the store does not know.
    _Secret("api-key", ("tt-",), re.compile(r"(?<![A-Za-z0-9])tt-[A-Za-z0-9_-]{43}")),
    _Secret("api-key", ("aiza",), re.compile(r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{30,64}")),
    _Secret("aws-key", ("akia", "asia"), re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])")),
    _Secret(
        "token", ("eyj",), re.compile(rf"(?<![A-Za-z0-9_.-])eyJ{_BASE64}{{10,}}\.{_BASE64}{{10,}}\.{_BASE64}{{5,}}")
    ),
    _Secret(
        "token",
        ("bearer",),
        re.compile(r"(?i)(?<![a-z0-9])(bearer\s{1,4})[a-z0-9._~+/=-]{12,}"),
    ),
    # `api_key = "…"`, also in JSON that is itself inside a string, hence the backslash.
    _Secret(
        "secret",
        _NAMES,
        re.compile(
            rf"(?i)((?:{'|'.join(_NAMES)})[\\\"']{{0,3}}\s{{0,3}}[:=]\s{{0,3}}[\\\"']{{0,3}})"
            r"[^\s\\\"',;{}\[\]]{8,512}"
        ),
    ),
)
# What a whole body is searched for first: every needle above contains one of these.
_STEMS = ("password", "secret", "access", "auth", "apikey", "api_key", "api-key", "private key", "github_pat_", "xox")
_NEEDLES = tuple(
    dict.fromkeys(
        next((stem for stem in _STEMS if stem in needle), needle)
        for needle in ("private key", *_NAMED_FIELDS, *(needle for secret in _SECRETS for needle in secret.needles))
    )
)
# Fewer searches where a shorter word is missing already.
_SHORT = ("key", "k-", "k_", "gh", "pat")
_GROUPS = tuple(
    (stem, tuple(needle for needle in _NEEDLES if next((s for s in _SHORT if s in needle), needle) == stem))
    for stem in dict.fromkeys(next((s for s in _SHORT if s in needle), needle) for needle in _NEEDLES)
)
# What agents say again in every call (a system prompt, a tool, a turn of before) is searched once: the hashes of such
# parts of requests in which no needle is. The hash is keyed anew in each process, so none can be made to collide.
_HARMLESS: set[int] = set()
_MOST_HARMLESS = 50_000
_WORTH_KNOWING = 64
# No pattern matches less: `apikey=` and eight characters.
_SHORTEST = 15
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")
_KEY_END = "PRIVATE KEY-----"


def scrub_text(text: str) -> str:
    """`text` with each secret replaced by `[redacted:kind]`; the same text where there is none."""
    if len(text) < _SHORTEST:
        return text
    lowered = text.lower()
    if "private key" in lowered:
        text = _without_private_keys(text)
    for label, needles, pattern in _SECRETS:
        if any(needle in lowered for needle in needles):
            text = pattern.sub(partial(_replaced, label), text)
    return text


def _replaced(label: str, match: re.Match[str]) -> str:
    kept = match.group(1) if match.re.groups else ""
    secret = match.group()[len(kept) :]
    if secret.startswith("[redacted:") or not any(character.isdigit() for character in secret):
        return match.group()
    return f"{kept}[redacted:{label}]"


def _without_private_keys(text: str) -> str:
    parts, position = [], 0
    while begin := _KEY_BEGIN.search(text, position):
        parts.append(text[position : begin.start()] + "[redacted:private-key]")
        end = text.find(_KEY_END, begin.end())
        # A key whose end is missing was cut, and is a key all the same.
        position = len(text) if end < 0 else end + len(_KEY_END)
    return "".join(parts) + text[position:]


def scrub(record: Record, *, personal_data: bool = False) -> Record:
    """`record` as it may be written: its body, error and tags without secrets and, if `personal_data`, without what
    `store.personal` knows. The call's user and session stay: by them it is found, and erased."""
    clean = _clean if personal_data else scrub_text
    call, payload = record.call, record.payload
    error = clean(call.error) if call.error else call.error
    tags = {name: clean(value) for name, value in call.tags.items()}
    if error != call.error or tags != call.tags:
        call = msgspec.structs.replace(call, error=error, tags=tags)
    return Record(call, None if payload is None else _scrub_payload(payload, clean))


def _clean(text: str) -> str:
    return personal.without(scrub_text(text))


def _scrub_payload(payload: Payload, clean: Callable[[str], str]) -> Payload:
    try:
        # Searching the encoded body for the needles passes most bodies without a walk through them.
        if not _may_hold_secrets(payload) and clean is scrub_text:
            return payload
        request, response = _scrub_value(payload.request, clean), _scrub_value(payload.response, clean)
    except (RecursionError, UnicodeError):
        # What cannot be searched is not written.
        request, response = (
            {"trimtab": "the body was nested too deeply, or no valid Unicode, and was not searched for secrets"},
            None,
        )
    return Payload(payload.call_id, request, response)


def _may_hold_secrets(payload: Payload) -> bool:
    """Whether a needle is in it. UnicodeError or RecursionError where it cannot be searched."""
    unknown, marks = [msgspec.json.encode(payload.response)], []
    for part in _parts(payload.request):
        encoded = msgspec.json.encode(part)
        mark = hash(encoded)
        if mark not in _HARMLESS:
            unknown.append(encoded)
            if len(encoded) >= _WORTH_KNOWING:
                marks.append(mark)
    if _has_needle(b"\n".join(unknown).decode().lower()):
        return True
    if len(_HARMLESS) > _MOST_HARMLESS:
        _HARMLESS.clear()
    _HARMLESS.update(marks)
    return False


def _parts(request: dict[str, Any]) -> Iterator[object]:
    """`request` in pieces that come again in other requests: each item of its lists, each long text, and the rest."""
    rest: dict[str, Any] = {}
    for name, value in request.items():
        if isinstance(value, list):
            yield from value
            rest[name] = None
        elif isinstance(value, str) and len(value) >= _WORTH_KNOWING:
            yield value
            rest[name] = None
        else:
            rest[name] = value
    yield rest


def _has_needle(lowered: str) -> bool:
    return any(stem in lowered and any(needle in lowered for needle in needles) for stem, needles in _GROUPS)


def _scrub_value(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {name: _scrub_field(name, item, clean) for name, item in value.items()}
    if isinstance(value, list):
        return [_scrub_value(item, clean) for item in value]
    return value


def _scrub_field(name: str, value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str) and value and name.lower() in _NAMED_FIELDS:
        return "[redacted:secret]"
    return _scrub_value(value, clean)
