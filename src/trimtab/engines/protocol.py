"""The messages between the server and a worker: msgpack, each frame opened by four bytes of length.

Knows neither the engine nor HTTP.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

_LENGTH = struct.Struct("<I")


class Sampling(msgspec.Struct, frozen=True, array_like=True):
    """How the next token is drawn. `top_k` 0 keeps all; penalties 0, 0 and 1 change nothing."""

    greedy: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence: float = 0.0
    frequency: float = 0.0
    repetition: float = 1.0
    seed: int = 0


class Form(msgspec.Struct, frozen=True, array_like=True):
    """What a text must look like: a JSON Schema or an EBNF grammar, either as text."""

    schema: str = ""
    ebnf: str = ""


class Tagged(msgspec.Struct, frozen=True, array_like=True):
    """`begin`, then text of the given form, then `end`."""

    begin: str
    form: Form
    end: str


class Grammar(msgspec.Struct, frozen=True, array_like=True):
    """What the whole output must look like: one form, or one or more of `tags` with `separator` between."""

    form: Form | None = None
    tags: tuple[Tagged, ...] = ()
    separator: str = ""
    only_one: bool = False


class Profile(msgspec.Struct, frozen=True, tag="profile", array_like=True):
    """What a worker loads: the first message it gets. `threads` 0: every core; `kv_mib`: the cache's ceiling in MiB.
    `draft`: a drafter's folder or name, or "lookup"; `draft_lengths`: its ladder as text, empty: its own."""

    model: str
    precision: str
    cache: str
    threads: int
    max_seqs: int
    kv_mib: int
    draft: str = ""
    draft_lengths: str = ""
    prefix_reuse: bool = True


class Add(msgspec.Struct, frozen=True, tag="add", array_like=True):
    """A request: `prompt` holds its token ids as packed int32. Not `streamed`: one answer, at the end."""

    id: int
    prompt: bytes
    max_tokens: int
    sampling: Sampling
    logprobs: bool = False
    streamed: bool = True
    grammar: Grammar | None = None


class Cancel(msgspec.Struct, frozen=True, tag="cancel", array_like=True):
    """Nobody waits for this request any more."""

    id: int


class Ready(msgspec.Struct, frozen=True, tag="ready", array_like=True):
    """The model is loaded. `kv_tokens`: what the cache holds; `grammar`: whether output can be bound to one."""

    name: str
    source: str
    folder: str
    precision: str
    context: int
    vocab: int
    eos_token_ids: tuple[int, ...]
    tokenizer_json: str
    chat_template: str | None
    digest: str
    kv_tokens: int
    kv_bytes: int
    grammar: bool


class Failed(msgspec.Struct, frozen=True, tag="failed", array_like=True):
    """The model could not be loaded: one line, and the exit code it stands for."""

    message: str
    exit_code: int


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """New tokens of one request. `finish`: '' goes on, else stop, length, refused (with `message`), ignored or lost.
    `drafted` and `taken` count from its beginning: tokens a drafter proposed, and those of them that stand (est.)."""

    id: int
    tokens: list[int]
    logprobs: list[float]
    finish: str = ""
    cached: int = 0
    message: str = ""
    drafted: int = 0
    taken: int = 0


class Batch(msgspec.Struct, frozen=True, tag="batch", array_like=True):
    """What one step of the engine gave, and its load: requests `running`, `waiting`, and the share of KV in use.
    `draft_lengths`: what the governor drafts now, as (from so many answers at once, tokens); empty: no drafter."""

    pieces: list[Piece]
    running: int
    waiting: int
    kv_usage: float
    draft_lengths: tuple[tuple[int, int], ...] = ()


ToWorker = Profile | Add | Cancel
FromWorker = Ready | Failed | Batch

_encoder = msgspec.msgpack.Encoder()


def frame(message: ToWorker | FromWorker) -> bytes:
    """The message as bytes for the wire."""
    data = _encoder.encode(message)
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Puts frames together again from whatever pieces the socket gives."""

    def __init__(self, kind: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """Every message that `data` completes."""
        self._rest += data
        at = 0
        while len(self._rest) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._rest, at)
            end = at + _LENGTH.size + size
            if len(self._rest) < end:
                break
            yield self._decoder.decode(bytes(self._rest[at + _LENGTH.size : end]))
            at = end
        del self._rest[:at]


def pack(ids: Sequence[int]) -> bytes:
    """Token ids as packed int32."""
    return array("i", ids).tobytes()
