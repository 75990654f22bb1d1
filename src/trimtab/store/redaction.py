"""What never reaches the disk: keys, tokens and private keys in any string of a body; if wished, personal data too.

Structured secrets only. Every pattern runs in linear time: no pattern can start twice in one run of characters without
having consumed it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from trimtab.store import personal
from trimtab.trace import UNREADABLE, EncodedPayload, Payload, Record, json_value, members

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
# What JSON texts are searched for before they are decoded: where none of these is, no pattern above matches and no name
# above is a field's. Each begins with one plain character, which is found quickly. Names count in any case.
_NAMED = (
    re.compile(rb"a(?:pi[-_]?key|uth(?:orization|[-_]?token)|ccess[-_]?(?:key|token))").search,
    re.compile(rb"password").search,
    re.compile(rb"secret").search,
    re.compile(rb"bearer").search,
)
_MARKED = (
    re.compile(rb"-(?<=[spr]k-|tt-|at-|x[abprs]-)[A-Za-z0-9_-]{16}").search,
    re.compile(rb"_(?<=[spr]k_|hf_|h[pousr]_|at_)[A-Za-z0-9_-]{16}").search,
    re.compile(rb"A(?:[KS]IA[A-Z0-9]{16}|Iza[A-Za-z0-9_-]{30})").search,
    re.compile(rb"J(?<=eyJ)[A-Za-z0-9_-]{10}").search,
    re.compile(rb"PRIVATE KEY-").search,
)
# Escapes that stand for ASCII, or for the Kelvin sign, whose lower case is in it: what they hide is found decoded.
_HIDING = re.compile(rb"\\u(?:00[0-7]|212[aA])").search
# What agents say again in every call (a system prompt, a tool, a turn of before) is searched once: the hashes of texts
# that hold no secret. The hash is keyed anew in each process, so none can be made to collide.
_HARMLESS: set[int] = set()
_MOST_HARMLESS = 50_000
# Members that grow from call to call: their items are looked at one by one.
_GROWING = frozenset(("messages", "input"))
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
# `{"apikey":"x"}`: no shorter text holds a secret.
_SHORTEST_ENCODED = 14
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


def found(text: str) -> list[tuple[str, str]]:
    """(kind, secret) of each secret that `scrub_text` would strike out."""
    lowered = text.lower()
    held = [("private-key", match.group()) for match in _KEY_BEGIN.finditer(text)]
    for label, needles, pattern in _SECRETS:
        if any(needle in lowered for needle in needles):
            held += [(label, secret) for match in pattern.finditer(text) if (secret := _secret(match))]
    return held


def _replaced(label: str, match: re.Match[str]) -> str:
    secret = _secret(match)
    return match.group().removesuffix(secret) + f"[redacted:{label}]" if secret else match.group()


def _secret(match: re.Match[str]) -> str:
    """What of the match is to go; '' where it is none after all."""
    kept = match.group(1) if match.re.groups else ""
    secret = match.group()[len(kept) :]
    is_none = secret.startswith("[redacted:") or not any(character.isdigit() for character in secret)
    return "" if is_none else secret


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
    clean = masked if personal_data else scrub_text
    call, payload = record.call, record.payload
    error = clean(call.error) if call.error else call.error
    tags = {name: clean(value) for name, value in call.tags.items()}
    if error != call.error or tags != call.tags:
        call = msgspec.structs.replace(call, error=error, tags=tags)
    return Record(call, None if payload is None else _scrub_payload(payload, clean))


def masked(text: str) -> str:
    return personal.without(scrub_text(text))


def _scrub_payload(payload: Payload | EncodedPayload, clean: Callable[[str], str]) -> Payload | EncodedPayload:
    try:
        if clean is scrub_text:
            return _without_secrets(payload)
        plain = payload.decoded()
        request, response = _scrub_value(plain.request, clean), _scrub_value(plain.response, clean)
    except (RecursionError, UnicodeError, OverflowError):
        # What cannot be searched is not written.
        request, response = (
            {"trimtab": "the body was nested too deeply, or no valid Unicode, and was not searched for secrets"},
            None,
        )
    return Payload(payload.call_id, request, response)


def _without_secrets(payload: Payload | EncodedPayload) -> Payload | EncodedPayload:
    """The same payload where it holds none. UnicodeError or RecursionError where it cannot be searched."""
    if isinstance(payload, Payload):
        request: Any = members(msgspec.json.encode(payload.request))
        response: Any = None if payload.response is None else members(msgspec.json.encode(payload.response))
    else:
        request, response = payload.request, payload.response
    new = _unknown(request)
    if response is not None:
        new += _unknown(response)
    if _NAMED_FIELDS.isdisjoint(map(str.lower, (*request, *(response or ())))) and not _may_hold(b"\n".join(new)):
        _remember(new)
        return payload
    asked, answered = _changed(request), _changed(response or {})
    if not asked and not answered:
        return payload
    encoded = EncodedPayload(payload.call_id, request | asked, (response | answered) if answered else response)
    return encoded if isinstance(payload, EncodedPayload) else encoded.decoded()


def _unknown(body: Mapping[str, msgspec.Raw]) -> list[bytes]:
    """The texts in `body` that may hold a secret, save those of which it is known that they do not."""
    new = []
    for name, text in body.items():
        if len(text) >= _SHORTEST_ENCODED:
            encoded = bytes(text)
            if name in _GROWING and encoded.startswith(b"["):
                new += [item for raw in _ITEMS.decode(encoded) if hash(item := bytes(raw)) not in _HARMLESS]
            elif hash(encoded) not in _HARMLESS:
                new.append(encoded)
    return new


def _remember(texts: Sequence[bytes]) -> None:
    if len(_HARMLESS) + len(texts) > _MOST_HARMLESS:
        _HARMLESS.clear()
    _HARMLESS.update([hash(text) for text in texts[:_MOST_HARMLESS] if len(text) >= _WORTH_KNOWING])


def _may_hold(encoded: bytes) -> bool:
    """Whether a search through what the JSON texts `encoded` stand for is needed."""
    # Beyond ASCII there are letters whose lower case is within it.
    lowered = encoded.lower() if encoded.isascii() else encoded.decode().lower().encode()
    for found in _NAMED:
        if found(lowered):
            return True
    for found in _MARKED:
        if found(encoded):
            return True
    return b"\\u" in encoded and _HIDING(encoded) is not None


def _changed(body: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """Those members of `body` that hold secrets, without them; the other texts are known from then on."""
    changed = {}
    for name, text in body.items():
        suspect = [item for item in _unknown({name: text}) if not _is_clean(item)]
        if suspect or name.lower() in _NAMED_FIELDS:
            scrubbed = _scrub_field(name, json_value(text), scrub_text)
            changed[name] = msgspec.Raw(msgspec.json.encode(scrubbed))
    return changed


def _is_clean(encoded: bytes) -> bool:
    if _may_hold(encoded):
        value = json_value(encoded)
        if value == UNREADABLE or _scrub_value(value, scrub_text) != value or _has_key_twice(encoded):
            return False
    _remember((encoded,))
    return True


def _has_key_twice(encoded: bytes) -> bool:
    """Whether an object in it has a key twice: the first value is in the text, and in no decoded value."""
    try:
        json.loads(encoded, object_pairs_hook=_once, parse_int=float)
    except (ValueError, RecursionError):
        return True
    return False


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a key is there twice")


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
