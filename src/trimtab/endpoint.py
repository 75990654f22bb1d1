"""Endpoint: a model at an address, and the name under which its price is looked up."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One model server and the `dialect` it speaks: OpenAI's "chat" (with completions and embeddings) or "responses",
    or Anthropic's "messages".

    `url` ends before `/chat/completions` (so usually in `/v1`). `model` is the name sent upstream; empty means
    the client's own. The key is read from the environment variable `key_env`, never from a file. `price` is the
    name in the price table; empty means `model`.

    Limits of one attempt, in seconds: `connect_s` to connect, `timeout_s` for a whole plain answer, `first_token_s`
    for a stream's first event with content, `stall_s` for the silence between two of its chunks, `stream_s` for a
    whole stream.
    """

    name: str
    url: str
    model: str = ""
    dialect: Literal["chat", "messages", "responses"] = "chat"
    key_env: str = ""
    price: str = ""
    licence: str = ""
    connect_s: Seconds = 10.0
    timeout_s: Seconds = 120.0
    first_token_s: Seconds = 120.0
    stall_s: Seconds = 60.0
    stream_s: Seconds = 1800.0

    @property
    def price_name(self) -> str:
        return self.price or self.model
