"""Every dialect that the gateway answers in, and how to come from one to another."""

from __future__ import annotations

from trimtab.endpoint import Endpoint
from trimtab.errors import RequestRefused
from trimtab.gateway.dialects.chat import CHAT
from trimtab.gateway.dialects.completions import COMPLETIONS
from trimtab.gateway.dialects.crossing import Crossing
from trimtab.gateway.dialects.embeddings import EMBEDDINGS
from trimtab.gateway.dialects.messages import MESSAGES, TOKEN_COUNT
from trimtab.gateway.dialects.protocol import Dialect
from trimtab.gateway.dialects.responses import RESPONSES
from trimtab.gateway.dialects.translate_from_chat import MESSAGES_TO_CHAT
from trimtab.gateway.dialects.translate_from_messages import CHAT_TO_MESSAGES
from trimtab.gateway.dialects.translate_from_responses import CHAT_TO_RESPONSES
from trimtab.gateway.dialects.translate_responses_answer import RESPONSES_TO_CHAT
from trimtab.gateway.dialects.translate_through_chat import MESSAGES_TO_RESPONSES, RESPONSES_TO_MESSAGES

DIALECTS: tuple[Dialect, ...] = (CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, TOKEN_COUNT, RESPONSES)
# (the client's dialect, the endpoint's)
_CROSSINGS: dict[tuple[str, str], Crossing] = {
    ("chat", "messages"): CHAT_TO_MESSAGES,
    ("messages", "chat"): MESSAGES_TO_CHAT,
    ("responses", "chat"): RESPONSES_TO_CHAT,
    ("chat", "responses"): CHAT_TO_RESPONSES,
    ("messages", "responses"): MESSAGES_TO_RESPONSES,
    ("responses", "messages"): RESPONSES_TO_MESSAGES,
}


def crossing(dialect: Dialect, endpoint: Endpoint) -> Crossing:
    """The way from clients of `dialect` to `endpoint`, which speaks another; RequestRefused 400 where there is none."""
    found = _CROSSINGS.get((dialect.name, endpoint.dialect))
    if found is None:
        message = f"endpoint '{endpoint.name}' speaks {endpoint.dialect}, into which {dialect.name} is not translated"
        hint = f"ask for a model whose endpoint speaks {dialect.spoken_by}"
        raise RequestRefused(f"{message}: {hint}", param="model", code="dialect_not_spoken")
    return found
