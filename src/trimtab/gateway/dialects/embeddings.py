"""OpenAI's embeddings: never streamed, and the vectors are never decoded here."""

from __future__ import annotations

from trimtab.gateway import wire
from trimtab.gateway.dialects.chat import Chat
from trimtab.gateway.wire import Head


class Embeddings(Chat):
    """POST /v1/embeddings."""

    name = "embeddings"
    operation = "embeddings"
    path = "/v1/embeddings"

    def outgoing(self, body: bytes, head: Head, model: str) -> bytes:
        return wire.renamed(body, head, model)


EMBEDDINGS = Embeddings()
