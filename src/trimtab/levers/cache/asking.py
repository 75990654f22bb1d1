"""Asked: one request as the cache sees it: its question, its class, its partition and its key; or why it has none."""

from __future__ import annotations

import re

import msgspec

from trimtab.gateway import wire
from trimtab.gateway.chain import Request
from trimtab.levers.cache import eligibility, partition, question
from trimtab.levers.cache.eligibility import Eligibility, Judged
from trimtab.levers.cache.options import Options
from trimtab.levers.cache.partition import Partition
from trimtab.levers.cache.question import Question

# What a house changes from week to week.
_CHANGING = re.compile(
    r"\b(?:prices?|costs?|how much|fees?|rates?|available|availability|in stock|open|hours|offers?|deals?|discounts?|"
    r"versions?|releases?|schedules?|waiting|preise?|kosten|kostet|verfügbar|öffnungszeiten|prix|precios?)\b",
    re.IGNORECASE,
)


class Asked(msgspec.Struct, frozen=True):
    """`key` is shared by requests that ask the very same; `refresh`: answer anew and keep that."""

    question: Question
    judged: Judged
    partition: Partition
    key: str
    shared_key: str
    life_s: float
    refresh: bool = False
    trust: str = ""
    version: str = ""
    sources: tuple[str, ...] = ()

    @property
    def by_meaning(self) -> bool:
        """Whether another question's answer may do."""
        return bool(self.question.text) and self.judged.level in (Eligibility.CACHE, Eligibility.SESSION)


def of(request: Request, options: Options) -> Asked | str:
    """The request as the cache sees it, or in one word why it goes past it."""
    wish = cache_control(request)
    if "no-store" in wish:
        return "no-store"
    if len(request.body) > options.max_request_bytes:
        return "large"
    body = wire.value(request.body)
    if not isinstance(body, dict):
        return "shape"
    name = request.dialect.name
    read = question.read(name, body)
    judged = eligibility.judge(name, read, options.max_temperature, options.history)
    judged = eligibility.narrowed(judged, options.rules, request.who.workflow, request.who.agent)
    if read is None or judged.level is Eligibility.NEVER:
        return judged.why or "policy"
    version = f"{options.version}\0{options.corpus}"
    try:
        its = partition.of(request, read, judged, options.tags, version)
        key = partition.exact_key(its.digest, read)
        shared_key = partition.exact_key(its.shared, read)
    except (UnicodeEncodeError, msgspec.MsgspecError):
        return "shape"
    life_s = options.lives.changing if _CHANGING.search(read.text) else options.lives.stable
    tags, said = options.tags, request.who.tags
    return Asked(
        question=read,
        judged=judged,
        partition=its,
        key=key,
        shared_key=shared_key,
        life_s=life_s,
        refresh="no-cache" in wish,
        trust=said.get(tags.trust, ""),
        version=said.get(tags.corpus, "") or options.corpus or options.version,
        sources=tuple(name.strip() for name in said.get(tags.sources, "").split("|") if name.strip()),
    )


def cache_control(request: Request) -> str:
    """HTTP's own words for it."""
    for name, held in request.headers:
        if name == b"cache-control":
            return held.decode("latin-1").lower()
    return ""
