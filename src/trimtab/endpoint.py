"""Endpoint: a model at an address, and the name under which its price is looked up."""

from __future__ import annotations

import msgspec


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One OpenAI-compatible model server.

    `url` ends before `/chat/completions` (so usually in `/v1`). `model` is the name sent upstream; empty means
    the client's own. The key is read from the environment variable `key_env`, never from a file. `price` is the
    name in the price table; empty means `model`. `timeout_s` bounds the wait for headers, `stall_s` the silence
    between two chunks of a stream.
    """

    name: str
    url: str
    model: str = ""
    key_env: str = ""
    price: str = ""
    licence: str = ""
    timeout_s: float = 120.0
    stall_s: float = 60.0

    @property
    def price_name(self) -> str:
        return self.price or self.model
