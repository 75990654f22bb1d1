"""The hard partition: what must be the same before any two questions are compared. In doubt a member counts.

What is not known to be harmless is part of it, so a member that a provider adds tomorrow parts requests today.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import msgspec

from trimtab.gateway import vendors
from trimtab.gateway.chain import Request
from trimtab.gateway.disclosure import KEYS
from trimtab.levers.cache.eligibility import Judged
from trimtab.levers.cache.question import Question

_canonical = msgspec.json.Encoder(order="deterministic")
_WORDS = re.compile(r"[^\W\d_]+")
# The commonest words that one language has and its neighbours have not.
_STOPWORDS = {
    "en": "the and is are what how my you your can does with this where when which for have i it do to of a",
    "de": "der die das und ist sind was wie mein ich sie kann wo wann welche für nicht ein eine mit wir mir zu",
    "fr": "le la les et est sont que quoi comment mon ma je vous votre peut où quand quelle pour pas une des du",
    "es": "el los las y es son qué que cómo mi yo usted puede dónde cuándo cuál para una del por con",
    "it": "il gli e è sono che cosa come mio io lei può dove quando quale per non una del della",
    "pt": "o os as e é são que como meu eu você pode onde quando qual para não uma do da",
    "nl": "de het en is zijn wat hoe mijn ik u kan waar wanneer welke voor niet een van met",
}
# Headers that change no answer. All others count: a model server may read whose request it is from any of them.
_PLAIN_HEADERS = frozenset(
    b"host connection keep-alive content-length content-type accept accept-encoding accept-language user-agent expect "
    b"transfer-encoding te traceparent tracestate baggage date via forwarded x-request-id x-correlation-id x-real-ip "
    b"idempotency-key cache-control pragma origin referer proxy-connection anthropic-version".split()
)
_PLAIN_PREFIXES = (b"x-trimtab-", b"x-stainless-", b"x-forwarded-", b"sec-", b"x-b3-", b"cf-", b"x-amzn-")
_LANGUAGE_OF: dict[str, tuple[str, ...]] = {}
for _name, _words in _STOPWORDS.items():
    for _word in _words.split():
        _LANGUAGE_OF[_word] = (*_LANGUAGE_OF.get(_word, ()), _name)


class Tags(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The names of the client's tags (`x-trimtab-tags`) that say whose an answer is, and of what it speaks; `sources`
    are documents, with `|` between them."""

    tenant: str = "tenant"
    trust: str = "trust"
    corpus: str = "corpus"
    sources: str = "sources"


class Partition(msgspec.Struct, frozen=True):
    """`digest` names it, `shared` the same one without the tenant and the caller."""

    digest: str
    shared: str
    caller: str
    tenant: str


def of(request: Request, asked: Question, judged: Judged, tags: Tags, version: str) -> Partition:
    """The partition of `request`; `version` is of the policy, the corpus and the artefact that serve."""
    head, who, key = request.head, request.who, request.notes.key
    tenant = who.tags.get(tags.tenant, "") or (key.tenant if key is not None else "")
    # A key of the client's own is for one account of the provider: whoever holds another is another.
    own = sorted((name.decode("latin-1"), held.hex()) for name, held in request.headers if name in KEYS)
    caller = (key.name if key is not None else "") + (f"\0{digest(own)}" if own else "")
    private = (who.session or who.user or who.trace_id) if judged.private else ""
    parts: dict[str, Any] = {
        "dialect": request.dialect.name,
        "query": request.query,
        "headers": _telling(request.headers),
        "model": head.model,
        "endpoint": [request.endpoint.url, request.endpoint.model],
        "system": asked.system,
        "tools": asked.tools,
        "shape": asked.shape,
        "sampling": sampling_class(asked.temperature),
        "others": asked.others,
        "history": asked.history,
        "language": language(asked.text),
        "private": private,
        "trust": who.tags.get(tags.trust, ""),
        "corpus": who.tags.get(tags.corpus, ""),
        "version": version,
        "shadow": who.workflow == "trimtab.shadow",
    }
    shared = digest(parts)
    return Partition(digest([shared, tenant, caller]), shared, caller, tenant or caller)


def _telling(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Headers that go to the model server and may tell it something, without keys."""
    return sorted(
        (name.decode("latin-1"), held.hex())
        for name, held in headers
        if name not in _PLAIN_HEADERS
        and name not in KEYS
        and not name.startswith(_PLAIN_PREFIXES)
        and not vendors.wanted(name)
    )


def exact_key(partition: str, asked: Question) -> str:
    """What two requests share that ask the very same: the partition, and the last turn as normalised."""
    last = {"text": normalised(asked.text)} if asked.text else asked.last
    return digest([partition, last])


def digest(value: Any) -> str:
    """32 hex digits of SHA-256 over canonical JSON."""
    return hashlib.sha256(_canonical.encode(value)).hexdigest()[:32]


def sampling_class(temperature: float | None) -> str:
    """Within a class answers are equally free; exact values differ between clients that mean the same."""
    if temperature is None:
        return "unsaid"
    return "none" if temperature == 0 else "low" if temperature <= 0.4 else "high"


def normalised(text: str) -> str:
    """One form for texts that say the same to anyone: Unicode composed, spaces single unless there are several lines,
    the first letter small unless it begins an acronym."""
    text = unicodedata.normalize("NFC", text).strip()
    if "\n" not in text:
        text = " ".join(text.split())
    if text[:1].isupper() and (len(text) == 1 or text[1:2].islower() or text[1:2] in " '’"):
        text = text[0].lower() + text[1:]
    return text


def language(text: str) -> str:
    """A guess at the language: its script, and for Latin letters whose small words it uses; 'und' where neither tells.

    Two questions of one language may get two guesses and then do not meet: a miss, never a wrong hit.
    """
    votes: dict[str, int] = {}
    for word in _WORDS.findall(text.lower())[:200]:
        for name in _LANGUAGE_OF.get(word, ()):
            votes[name] = votes.get(name, 0) + 1
    scripts = {_script(char) for char in text[:2000] if char.isalpha()}
    scripts.discard("LATIN")
    if scripts:
        return "+".join(sorted(scripts))
    best = sorted(votes, key=lambda name: (-votes[name], name))
    return best[0] if best else "und"


def _script(char: str) -> str:
    if char.isascii():
        return "LATIN"
    try:
        return unicodedata.name(char).split(" ")[0]
    except ValueError:
        return "unknown"
