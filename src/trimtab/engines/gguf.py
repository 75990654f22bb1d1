"""GGUF files: the header read and checked by our own hand, for the engine's loader trusts what it reads.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The weights themselves are left to the engine.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from trimtab.errors import ModelError

ARCHITECTURES = ("llama", "qwen2", "qwen3")
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
# Tensor types: name, numbers a block, bytes a block.
TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22)}
TYPES |= {7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110)}
TYPES |= {12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 30: ("BF16", 1, 2)}
# F16, Q8_0 and Q4_0 run exactly as stored, Q6_K to 4e-4. The engine rounds the zero points of Q4_1 and Q4_K: on random
# weights its logits were 11 and 14 % off (relative RMS) what the file says; prefer Q4_0, or the checkpoint in int4.
RUNNABLE = ("F16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K")
LONGEST = 1 << 26  # bytes of one string or entries of one array: far above any real vocabulary
CONTROL, USER_DEFINED = 3, 4  # token types

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
REST = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
SPLITS = {"llama-bpe": CONTRACTIONS + "\\p{N}{1,3}" + REST, "qwen2": CONTRACTIONS + "\\p{N}" + REST}


class Gguf(msgspec.Struct, frozen=True):
    """A decoder in a GGUF file: its sizes and its text side."""

    context: int
    vocab: int
    layers: int
    kv_heads: int
    head_dim: int
    eos: tuple[int, ...]
    chat_template: str | None
    values: dict[str, Any]

    def tokenizer(self) -> dict[str, Any] | None:
        """Its byte-level BPE in the form of a tokenizer.json; None for another kind of tokenizer."""
        tokens, merges = self.values.get("tokenizer.ggml.tokens"), self.values.get("tokenizer.ggml.merges")
        if self.values.get("tokenizer.ggml.model") != "gpt2" or not isinstance(tokens, list) or not merges:
            return None
        kinds = self.values.get("tokenizer.ggml.token_type") or [1] * len(tokens)
        added = [
            {"id": place, "content": token, "special": kind == CONTROL, "normalized": False}
            | {"single_word": False, "lstrip": False, "rstrip": False}
            for place, (token, kind) in enumerate(zip(tokens, kinds, strict=False))
            if kind in (CONTROL, USER_DEFINED)
        ]
        model = {"type": "BPE", "vocab": {token: place for place, token in enumerate(tokens)}, "merges": merges}
        model |= {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
        model |= {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
        form = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "post_processor": None}
        kind = str(self.values.get("tokenizer.ggml.pre", "default"))
        normalizer = {"type": "NFC"} if kind == "qwen2" else None
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        return form | {
            "normalizer": normalizer,
            "pre_tokenizer": _splitter(kind, level),
            "model": model,
            "decoder": level,
        }


def _splitter(kind: str, level: dict[str, Any]) -> dict[str, Any]:
    """How a text is cut before merging, by the name GGUF gives to the way of the original tokenizer."""
    if kind in SPLITS:
        split = {"type": "Split", "pattern": {"Regex": SPLITS[kind]}, "behavior": "Isolated", "invert": False}
        return {"type": "Sequence", "pretokenizers": [split, level | {"use_regex": False}]}
    if kind == "smollm":
        return {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, level]}
    return level


def open_gguf(path: Path) -> Gguf:
    """Read the header of `path` and check that the engine can run what it describes.

    Errors: ModelError for a file that is cut or broken, an unknown architecture, or a weight type that cannot run.
    """
    try:
        with path.open("rb") as file:
            values, tensors = _Reader(file, path).header()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    kind = values.get("general.architecture")
    if kind not in ARCHITECTURES:
        raise ModelError(f"{path}: architecture {kind!r} is unknown as GGUF; known are {', '.join(ARCHITECTURES)}")
    table = tensors.get("token_embd.weight")
    if table is None or len(table[0]) != 2:
        raise ModelError(f"{path} holds no token embeddings: it is no text model")
    for name, (form, word) in tensors.items():
        if len(form) > 1 and word not in RUNNABLE:
            known = ", ".join(RUNNABLE)
            raise ModelError(f"{path}: tensor {name!r} is {word}, which the engine cannot run; {known} can: convert it")
    heads = _natural(path, values, f"{kind}.attention.head_count")
    hidden = _natural(path, values, f"{kind}.embedding_length")
    vocab = table[0][1]
    eos = [values.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")]
    template = values.get("tokenizer.chat_template")
    return Gguf(
        context=_natural(path, values, f"{kind}.context_length"),
        vocab=vocab,
        layers=_natural(path, values, f"{kind}.block_count"),
        kv_heads=_natural(path, values, f"{kind}.attention.head_count_kv", heads),
        head_dim=_natural(path, values, f"{kind}.attention.key_length", hidden // heads),
        eos=tuple(dict.fromkeys(token for token in eos if type(token) is int and 0 <= token < vocab)),
        chat_template=template if isinstance(template, str) else None,
        values=values,
    )


def _natural(path: Path, values: dict[str, Any], key: str, default: int | None = None) -> int:
    value = values.get(key, default)
    if type(value) is not int or value < 1:
        raise ModelError(f"{path}: '{key}' is {value!r}, not a positive whole number: convert the model again")
    return value


class _Reader:
    """Reads little-endian values, and never past the file's end."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file = file
        self.path = path
        self.size = path.stat().st_size

    def header(self) -> tuple[dict[str, Any], dict[str, tuple[tuple[int, ...], str]]]:
        """The key-value pairs, and each tensor's form (innermost size first) and type's name."""
        if self.take(4) != b"GGUF":
            raise ModelError(f"{self.path} is no GGUF file: check what was downloaded")
        version = self.number("I")
        if version not in (2, 3):
            raise ModelError(f"{self.path} is GGUF version {version}; 2 and 3 can be read: convert the model again")
        tensors, pairs = self.number("Q"), self.number("Q")
        if (tensors + pairs) * 12 > self.size:
            raise self.broken()
        values = {self.string(): self.value(self.number("I")) for _ in range(pairs)}
        entries = [self.entry() for _ in range(tensors)]
        step = values.get("general.alignment", 32)
        if type(step) is not int or step < 1:
            raise self.broken()
        start = -(-self.file.tell() // step) * step
        if any(start + offset + size > self.size for _, _, _, offset, size in entries):
            raise ModelError(f"{self.path} is cut short: copy the file again")
        return values, {name: (form, word) for name, form, word, _, _ in entries}

    def entry(self) -> tuple[str, tuple[int, ...], str, int, int]:
        """One tensor: name, form, type's name, offset and size in bytes."""
        name, rank = self.string(), self.number("I")
        if not 0 < rank <= 4:
            raise self.broken()
        form = tuple(self.number("Q") for _ in range(rank))
        kind, offset = self.number("I"), self.number("Q")
        word, count, width = TYPES.get(kind, (f"type {kind}", 1, 0))
        return name, form, word, offset, math.prod(form) // count * width

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == STRING:
            return self.string()
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind != ARRAY or depth:
            raise self.broken()
        inner, count = self.number("I"), self.number("Q")
        if count > min(LONGEST, self.size):
            raise self.broken()
        if inner in SCALARS:
            form = struct.Struct(f"<{count}{SCALARS[inner]}")
            return list(form.unpack(self.take(form.size)))
        return [self.value(inner, depth + 1) for _ in range(count)]

    def string(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", "replace")

    def number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]

    def take(self, count: int) -> bytes:
        if count > min(LONGEST, self.size - self.file.tell()):
            raise self.broken()
        return self.file.read(count)

    def broken(self) -> ModelError:
        return ModelError(f"{self.path} has a broken header or is cut short: copy the file again")
