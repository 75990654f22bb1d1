"""Text to token ids and back, a piece at a time: no character is cut in two, no stop string slips through.

Knows no chat, no tool call and no engine.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from trimtab.errors import MissingExtra, ModelError

# Markers that belong to the answer even where a tokenizer declares them special.
KEPT = frozenset({"<tool_call>", "</tool_call>", "<think>", "</think>"})


class Decoder(Protocol):
    """Turns one request's token ids into text, in order."""

    def push(self, ids: Sequence[int]) -> str: ...

    def flush(self) -> str: ...


class Codec:
    """A model's tokenizer.json."""

    def __init__(self, path: Path) -> None:
        """Errors: ModelError where the file is missing or cannot be read, MissingExtra without `tokenizers`."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtra("engine", "tokenizers") from error
        try:
            described = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises the bare Exception for whatever it finds in the file
            raise ModelError(f"{path}: cannot be read ({error}): copy the model folder again") from error
        added = described.get("added_tokens") or []
        self._hidden = frozenset(
            token["id"] for token in added if token.get("special") and token.get("content") not in KEPT
        )
        self._bytes = _byte_table(described, self._tokenizer, self._hidden) if _byte_level(described) else None

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids; with `special`, what the tokenizer itself puts round a text (a first token, say)."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        return ids

    def decoder(self) -> Decoder:
        """A fresh decoder for one answer."""
        return _Window(self) if self._bytes is None else _Bytes(self._bytes)

    def decode(self, ids: Sequence[int]) -> str:
        """The whole text of `ids`, hidden tokens left out."""
        kept = [number for number in ids if number not in self._hidden]
        text: str = self._tokenizer.decode(kept, skip_special_tokens=False)
        return text

    def piece(self, number: int) -> bytes:
        """The bytes that one token stands for; hidden tokens by their name."""
        if self._bytes is not None and number not in self._hidden:
            return self._bytes[number] if 0 <= number < len(self._bytes) else b""
        return (self._tokenizer.id_to_token(number) or "").encode()


class _Bytes:
    """Byte-level tokenizers: each token is a run of bytes, so decoding is a table and an incremental UTF-8 decoder."""

    def __init__(self, table: list[bytes]) -> None:
        self._table = table
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: Sequence[int]) -> str:
        table, size = self._table, len(self._table)
        return self._utf8.decode(b"".join([table[number] for number in ids if 0 <= number < size]))

    def flush(self) -> str:
        return self._utf8.decode(b"", final=True)


class _Window:
    """Any other tokenizer: decode a short window again, and give out what no longer ends in an unfinished character."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._ids: list[int] = []
        self._start = 0  # where the window begins: the last tokens already given out, for their spacing
        self._read = 0  # tokens given out

    def push(self, ids: Sequence[int]) -> str:
        text = ""
        for number in ids:  # one at a time, so that the result does not depend on how they came
            self._ids.append(number)
            text += self._advance(final=False)
        return text

    def flush(self) -> str:
        return self._advance(final=True)

    def _advance(self, *, final: bool) -> str:
        before = self._codec.decode(self._ids[self._start : self._read])
        now = self._codec.decode(self._ids[self._start :])
        if len(now) <= len(before) or (now.endswith("�") and not final):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return now[len(before) :]


class StopStrings:
    """Watches text go by for the first stop string, which is left out, as is all that follows."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.hit = False

    def push(self, text: str) -> str:
        """What may be given out: everything but an end that could still become a stop string."""
        if not self._stops or self.hit:
            return "" if self.hit else text
        text = self._held + text
        # The stop string that is complete first wins, as it would if the text came a character at a time.
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.hit, self._held = True, ""
            return text[: min(found)[1]]
        keep = max(overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """The end that did not become a stop string."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, mark: str) -> int:
    """Characters at the end of `text` that are a beginning of `mark`, short of the whole."""
    for size in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:size]):
            return size
    return 0


def _byte_level(described: dict[str, Any]) -> bool:
    decoder = described.get("decoder") or {}
    return decoder.get("type") == "ByteLevel"


def _byte_table(described: dict[str, Any], tokenizer: Any, hidden: frozenset[int]) -> list[bytes]:
    """Bytes of each token id. GPT-2's alphabet writes each byte as one printable character."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
    vocab: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    table = [b""] * (max(vocab.values(), default=-1) + 1)
    for token, number in vocab.items():
        spelled = [alphabet.get(character) for character in token]
        whole = [byte for byte in spelled if byte is not None]
        table[number] = bytes(whole) if len(whole) == len(spelled) else token.encode()
    for number in hidden:
        if number < len(table):
            table[number] = b""
    return table
