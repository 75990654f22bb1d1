"""Whether an answer may be kept for others, before anything is looked up: a class for each request, with its reason.

In doubt the narrower class. What a user's policy says for a workflow or an agent narrows it further, never widens it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

import msgspec

from trimtab.levers.cache.question import Question


class Eligibility(enum.IntEnum):
    """From none to all: not at all, within one session, for the very same request, for the same meaning."""

    NEVER = 0
    SESSION = 1
    EXACT_ONLY = 2
    CACHE = 3


class Judged(msgspec.Struct, frozen=True):
    """`why` is one word, '' for what nothing speaks against; `private` keeps it within its session or user."""

    level: Eligibility
    why: str = ""
    private: bool = False


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user allows at most for a workflow and an agent ('' is any of them)."""

    level: str
    workflow: str = ""
    agent: str = ""


_LEVELS = {level.name.lower().replace("_", "-"): level for level in Eligibility}
# What names a time relative to now, and what changes by itself: an answer to it holds for a moment.
_TIME_BOUND = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|right now|now|currently|at the moment|this (?:morning|afternoon|evening|"
    r"week|weekend|month|year)|(?:next|last|past) (?:week|weekend|month|year|hour|minute|night|few days)|latest|"
    r"newest|breaking|recent(?:ly)?|up to date|what time|what day|the date|weather|forecast|stock price|share price|"
    r"exchange rates?|heute|morgen|gestern|jetzt|aktuell\w*|aujourd'hui|demain|hier|maintenant|hoy|mañana|ayer|"
    r"ahora)\b",
    re.IGNORECASE,
)
# Questions about a state that belongs to who asks. "How do I change my address?" is none.
_STATE_OF_MINE = re.compile(
    r"\b(?:what(?:'s|s| is| are| was| were)|where(?:'s| is| are)|when(?:'s| is| does| will| did)|how (?:much|many)|"
    r"show(?: me)?|list|check|look up|find|see|tell me|give me|read(?: me)?|status of|track|did|has|have|is|are|was)\b"
    r"[^.?!]{0,40}\bmy (?:\w+ ){0,2}?(?:balance|orders?|accounts?|appointments?|bookings?|reservations?|invoices?|"
    r"bills?|payments?|transactions?|transfers?|refunds?|deliver(?:y|ies)|packages?|parcels?|shipments?|tickets?|"
    r"applications?|claims?|polic(?:y|ies)|subscriptions?|plan|points|cards?|pin|password|address|number|name|email|"
    r"loan|salary|results?|records?|history|limit|statements?|cars?|vehicles?|files?|calendar|messages?)\b",
    re.IGNORECASE,
)
_IDENTITY = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}\.\w|(?:\+|\b)\d[\d ()/-]{6,24}\d|\b(?:[A-Z]{1,4}-?\d{4,}|\d{7,})\b")
# "Cancel the order", "please book me in", "I want to pay it now": something is to be done, not told.
_ACTION = re.compile(
    r"^(?:(?:please|ok(?:ay)?|yes|hi|hello|hey|thanks?)[,!. ]+)*"
    r"(?:(?:can|could|would|will) you (?:please )?|(?:i(?:'d| would) like (?:you )?to|i (?:want|need) (?:you )?to|"
    r"go ahead and|let's|help me(?: to)?) )?"
    r"(?:please )?(?:cancel|book|reserve|order|buy|pay|transfer|send|delete|remove|reschedule|confirm|submit|"
    r"withdraw|refund|sign me up|register me|unsubscribe|schedule|wire|purchase|close|block|freeze|reset|update|change|"
    r"make (?:a|the) (?:payment|booking|reservation|transfer))\b",
    re.IGNORECASE,
)
_AGREED = re.compile(
    r"^(?:yes|yeah|yep|ok(?:ay)?|sure|no|nope|go ahead|do it|please do|sounds good|confirmed?|correct|right|ja|nein|"
    r"oui|non|si|sí|thanks?(?: you)?)\b.{0,24}$",
    re.IGNORECASE | re.DOTALL,
)
# Tools by which something is changed in the world; their calls are repeated for the very same request alone.
_ACTING = re.compile(
    r"(?:^|[_\-.\s])(?:book|cancel|buy|pay|order|reserve|transfer|send|delete|remove|create|update|add|set|apply|"
    r"withdraw|register|reschedule|schedule|submit|confirm|refund|write|post|put|execute|run|close|open|move|upload)"
    r"(?:$|[_\-.\s])"
)
_KINDS = frozenset(("chat", "messages", "responses", "completions", "embeddings"))
_BY_BODY = (
    *("previous_response_id", "conversation", "background", "modalities", "audio", "prediction"),
    *("web_search_options", "context_management", "container", "mcp_servers"),
)
# The encoder reads no more of a text than about this.
_MOST_CHARS = 800


def judge(dialect: str, asked: Question | None, max_temperature: float, history: int) -> Judged:
    """The class of a request by its own words and options."""
    if dialect not in _KINDS:
        return Judged(Eligibility.NEVER, "operation")
    if asked is None:
        return Judged(Eligibility.NEVER, "shape")
    if (why := _hindrance(asked, max_temperature)) is not None:
        return Judged(Eligibility.NEVER, why)
    if dialect == "embeddings":
        return Judged(Eligibility.EXACT_ONLY, "embedding")
    if asked.text and _TIME_BOUND.search(asked.text):
        return Judged(Eligibility.NEVER, "time")
    if asked.text and (_STATE_OF_MINE.search(asked.text) or _IDENTITY.search(asked.text)):
        return Judged(Eligibility.SESSION, "personal", private=True)
    return _by_form(dialect, asked, history)


def _hindrance(asked: Question, max_temperature: float) -> str | None:
    """Why no answer to it may be kept."""
    if asked.hosted:
        return "hosted-tools"
    if any(asked.others.get(name) for name in _BY_BODY):
        return "state"
    n = asked.others.get("n", 1)
    if n != 1 or (asked.temperature or 0) > max_temperature:
        return "variety"
    return None


def _by_form(dialect: str, asked: Question, history: int) -> Judged:
    if asked.media:
        return Judged(Eligibility.EXACT_ONLY, "media")
    if dialect == "completions":
        return Judged(Eligibility.EXACT_ONLY, "completion")
    if not asked.text:
        return Judged(Eligibility.EXACT_ONLY, "tool-result")
    if len(asked.text) > _MOST_CHARS:
        return Judged(Eligibility.EXACT_ONLY, "long")
    if asked.others.get("logprobs") or asked.others.get("top_logprobs"):
        return Judged(Eligibility.EXACT_ONLY, "logprobs")
    if len(asked.history) > history:
        return Judged(Eligibility.EXACT_ONLY, "history")
    if _ACTION.search(asked.text.strip()) or _AGREED.match(asked.text.strip()):
        return Judged(Eligibility.EXACT_ONLY, "action")
    return Judged(Eligibility.CACHE)


def narrowed(judged: Judged, rules: Iterable[Rule], workflow: str, agent: str) -> Judged:
    """`judged`, at most what the first rule that fits allows."""
    for rule in rules:
        if rule.workflow in ("", workflow) and rule.agent in ("", agent):
            level = _LEVELS[rule.level]
            if level is Eligibility.SESSION and judged.level is not Eligibility.NEVER:
                return Judged(min(level, judged.level), judged.why or "policy", private=True)
            return judged if level >= judged.level else Judged(level, "policy", judged.private)
    return judged


def is_level(name: str) -> bool:
    return name in _LEVELS


def levels() -> tuple[str, ...]:
    return tuple(_LEVELS)


def is_acting(calls: Iterable[tuple[str, str]]) -> bool:
    """Whether one of these calls (name, arguments as JSON) changes something, by its name. To hand over to another
    agent (`transfer_to_sales`, with nothing beside) changes nothing."""
    return any(_ACTING.search(_spaced(name)) for name, given in calls if not _hands_over(name, given))


def _hands_over(name: str, given: str) -> bool:
    return name.startswith("transfer_to_") and given in ("{}", "", "null")


def _spaced(name: str) -> str:
    """bookSlot as book_slot."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
