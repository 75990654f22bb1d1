"""What a model folder says of its text side: end-of-sequence ids, tokenizer.json, chat template. Tokenises nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from trimtab.engines.shape import read_json
from trimtab.errors import ModelError


class Vocabulary(msgspec.Struct, frozen=True):
    """`eos`: every id that ends an answer, most telling first; `marks`: bos, eos and pad ids by their usual keys."""

    eos: tuple[int, ...]
    marks: dict[str, int]
    tokenizer_json: Path | None
    chat_template: str | None


def read_vocabulary(folder: Path, vocab: int) -> Vocabulary:
    """Collect from generation_config.json, config.json, tokenizer_config.json and tokenizer.json what is there.

    A chat model often ends its turn with another token than its pre-training did: all of them end an answer.
    Errors: ModelError for a file that is broken, or a tokenizer with ids the model has no rows for.
    """
    names = ("generation_config.json", "config.json", "tokenizer_config.json", "tokenizer.json")
    files = {name: read_json(folder / name) if (folder / name).exists() else {} for name in names}
    ids = token_ids(files["tokenizer.json"])
    if ids and (max(ids.values()) >= vocab or min(ids.values()) < 0):
        raise ModelError(
            f"{folder}: the tokenizer has ids from {min(ids.values())} to {max(ids.values())}, the model rows 0 to "
            f"{vocab - 1}: the two do not belong together"
        )
    settings = files["tokenizer_config.json"]
    eos = [*_listed(files["generation_config.json"]), *_listed(files["config.json"])]
    eos += _named(settings, "eos_token", ids)
    eos = [token for token in dict.fromkeys(eos) if 0 <= token < vocab]
    marks = {"eos_token_id": eos[0]} if eos else {}
    for key in ("bos", "pad"):
        found = [files["config.json"].get(f"{key}_token_id"), *_named(settings, f"{key}_token", ids)]
        marks |= {f"{key}_token_id": token for token in found if type(token) is int and 0 <= token < vocab}
    tokenizer = folder / "tokenizer.json"
    return Vocabulary(tuple(eos), marks, tokenizer if tokenizer.exists() else None, _template(folder, settings))


def token_ids(tokenizer: dict[str, Any]) -> dict[str, int]:
    """Every token of a parsed tokenizer.json and its id; empty for a form without a plain table."""
    model = tokenizer.get("model")
    table = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(table, list):  # Unigram: [token, score] in order of id
        table = {pair[0]: place for place, pair in enumerate(table) if isinstance(pair, list) and pair}
    ids = dict(table) if isinstance(table, dict) else {}
    added = tokenizer.get("added_tokens")
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and isinstance(token.get("content"), str):
            ids[token["content"]] = token.get("id")
    return {token: place for token, place in ids.items() if type(place) is int}


def _listed(config: dict[str, Any]) -> list[int]:
    value = config.get("eos_token_id")
    return [token for token in (value if isinstance(value, list) else [value]) if type(token) is int]


def _named(settings: dict[str, Any], key: str, ids: dict[str, int]) -> list[int]:
    """A token given by its text, either plain or as an object with `content`."""
    token = settings.get(key)
    text = token.get("content") if isinstance(token, dict) else token
    return [ids[text]] if isinstance(text, str) and text in ids else []


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    """chat_template.jinja wins over tokenizer_config.json; of several named ones the one called default is taken."""
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{folder / 'chat_template.jinja'} cannot be read: save it as UTF-8 text") from error
    value = settings.get("chat_template")
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None
