"""Every dialect that the gateway answers in, by the path that clients ask for."""

from __future__ import annotations

from trimtab.gateway.dialects.chat import CHAT
from trimtab.gateway.dialects.completions import COMPLETIONS
from trimtab.gateway.dialects.embeddings import EMBEDDINGS
from trimtab.gateway.dialects.messages import MESSAGES, TOKEN_COUNT
from trimtab.gateway.dialects.protocol import Dialect
from trimtab.gateway.dialects.responses import RESPONSES

DIALECTS: tuple[Dialect, ...] = (CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, TOKEN_COUNT, RESPONSES)
