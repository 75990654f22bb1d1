"""From what the user names (shipped model, checkpoint folder, OpenVINO IR, GGUF) to files the engine can run."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec

from trimtab.engines import build_cache, tokenizer_ir
from trimtab.engines.checkpoint import Checkpoint, expected, open_checkpoint
from trimtab.engines.gguf import open_gguf
from trimtab.engines.graph import build
from trimtab.engines.ir import MODEL, read_ir, write_ir
from trimtab.engines.shape import read_json
from trimtab.engines.vocabulary import read_vocabulary
from trimtab.engines.weights import PRECISIONS, Store
from trimtab.errors import ConfigError, ModelError

RECIPE = "2"  # raise it when the graph or a weight format changes: old cache folders are then left unused
LABEL = "trimtab.json"
KEPT = ("u8", "bf16", "f32")  # how the engine may hold keys and values
COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", *tokenizer_ir.NAMES)
BYTES = {"f32": 4.0, "bf16": 2.0, "int8": 1.1, "int4": 0.8}  # a weight; with scales, and INT8 embeddings beside INT4


class Label(msgspec.Struct, frozen=True):
    """`trimtab.json` in an IR folder: under which name it is served, and how its keys and values are held."""

    name: str = ""
    kv: str = ""


class PreparedModel(msgspec.Struct, frozen=True):
    """A model ready for the engine: where its files are, and the sizes the key-value budget is made from. `kv` is how
    its cache is held, where the model itself says so."""

    name: str
    source: Path
    folder: Path
    precision: str
    context: int
    vocab: int
    layers: int
    kv_heads: int
    head_dim: int
    eos_token_ids: tuple[int, ...]
    tokenizer_json: Path | None
    chat_template: str | None
    digest: str
    kv: str = ""

    @property
    def cached_as(self) -> str:
        """How keys and values are held: as the model says, else in 8 bits, and exactly where the weights are."""
        return self.kv or ("f32" if self.precision == "f32" else "u8")

    @property
    def grammar(self) -> bool:
        """True if the engine can hold answers to a grammar: it needs the OpenVINO tokenizer files (or a GGUF)."""
        return self.precision == "gguf" or (self.folder / tokenizer_ir.NAMES[0]).exists()


def prepare(name_or_path: str, precision: str = "bf16", cache: Path | None = None) -> PreparedModel:
    """Build what is missing (once, kept in the cache under its content's digest) and describe the result.

    `name_or_path`: a shipped model's name, a checkpoint or IR folder, or a .gguf file; `precision`: f32, bf16, int8 or
    int4, for checkpoints only; `cache`: in place of $TRIMTAB_CACHE.
    Errors: ModelError for anything wrong with the model, ConfigError for an unknown precision, DiskFull, MissingExtra.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision '{precision}' is unknown: choose one of {', '.join(PRECISIONS)}")
    source, root = locate(name_or_path), build_cache.cache_root(cache)
    if source.is_file():
        return _from_gguf(source, root)
    if (source / MODEL).exists():
        return _from_ir(source)
    return _from_checkpoint(source, precision, root)


def _ending(source: Path, eos: tuple[int, ...]) -> tuple[int, ...]:
    """`eos`, which must not be empty: the engine refuses every request of a model whose end token it does not know."""
    if not eos:
        raise ModelError(f"{source} names no end-of-sequence token: set eos_token_id in its generation_config.json")
    return eos


def shipped() -> dict[str, Path]:
    """The models that come with the package, by name."""
    home = Path(str(importlib.resources.files("trimtab"))) / "models"
    return {path.name: path for path in sorted(home.glob("*")) if (path / "config.json").exists()}


def locate(name_or_path: str) -> Path:
    """The folder or .gguf file meant. A shipped name goes first: write ./NAME for a folder called the same."""
    models = shipped()
    if name_or_path in models:
        return models[name_or_path]
    path = Path(name_or_path).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        # A link keeps its own name, which becomes the served one.
        return path.resolve() if path.name == ".." else path.absolute()
    if path.is_file():
        raise ModelError(f"{path} is no .gguf file: name the folder that holds the model")
    known = f"shipped are {', '.join(models)}" if models else "none are shipped here"
    raise ModelError(f"there is no model '{name_or_path}': {known}; or name a folder or a .gguf file")


def _from_checkpoint(source: Path, precision: str, root: Path) -> PreparedModel:
    checkpoint = open_checkpoint(source)
    shape = checkpoint.shape
    vocabulary = read_vocabulary(source, shape.vocab)
    eos = _ending(source, vocabulary.eos)
    digest = _digest([*checkpoint.files, source / "generation_config.json", *(source / n for n in COPIED)], precision)
    numbers = sum(_product(form) for _, form in expected(shape))
    needed = int(numbers * BYTES[precision])
    folder = build_cache.keep(root / digest, needed, lambda fresh: lay_out(fresh, checkpoint, precision))
    tokenizer = folder / "tokenizer.json"
    return PreparedModel(
        name=source.name,
        source=source,
        folder=folder,
        precision=precision,
        context=shape.context,
        vocab=shape.vocab,
        layers=shape.layers,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        eos_token_ids=eos,
        tokenizer_json=tokenizer if tokenizer.exists() else None,
        chat_template=vocabulary.chat_template,
        digest=digest,
    )


def lay_out(fresh: Path, checkpoint: Checkpoint, precision: str | Store) -> None:
    """Write the graph and everything else that the engine wants beside it into the folder `fresh`."""
    vocabulary = read_vocabulary(checkpoint.folder, checkpoint.shape.vocab)
    write_ir(build(checkpoint.shape, checkpoint.weight, precision), fresh)
    for name in COPIED:
        if (checkpoint.folder / name).exists():
            shutil.copyfile(checkpoint.folder / name, fresh / name)
    # The engine takes the end tokens from this file.
    path = checkpoint.folder / "generation_config.json"
    settings: dict[str, Any] = read_json(path) if path.exists() else {}
    settings["eos_token_id"] = list(vocabulary.eos)
    (fresh / "generation_config.json").write_text(json.dumps(settings))
    if vocabulary.tokenizer_json is not None and not (fresh / tokenizer_ir.NAMES[0]).exists():
        tokenizer_ir.write_tokenizer(vocabulary.tokenizer_json, fresh, vocabulary.marks)


def _from_ir(source: Path) -> PreparedModel:
    """An OpenVINO folder is run where it lies."""
    sizes = read_ir(source)
    path = source / "config.json"
    context = read_json(path).get("max_position_embeddings") if path.exists() else None
    if type(context) is not int or context < 1:
        # The engine itself would run past the end of what the model has learned, and say nothing.
        raise ModelError(f"{source} names no context length: put its config.json with max_position_embeddings there")
    vocabulary = read_vocabulary(source, sizes.vocab)
    label = _label(source)
    files = [source / MODEL, (source / MODEL).with_suffix(".bin"), source / LABEL, *(source / name for name in COPIED)]
    return PreparedModel(
        name=label.name or source.name,
        kv=label.kv,
        source=source,
        folder=source,
        precision="ir",
        context=context,
        vocab=sizes.vocab,
        layers=sizes.layers,
        kv_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        eos_token_ids=_ending(source, vocabulary.eos),
        tokenizer_json=vocabulary.tokenizer_json,
        chat_template=vocabulary.chat_template,
        digest=_digest(files, "ir"),
    )


def _label(source: Path) -> Label:
    path = source / LABEL
    if not path.exists():
        return Label()
    try:
        label = msgspec.json.decode(path.read_bytes(), type=Label)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read ({error}): copy the folder again") from error
    if label.kv not in ("", *KEPT):
        raise ModelError(f"{path} wants keys and values as '{label.kv}': the engine has {', '.join(KEPT)}")
    return label


def _from_gguf(source: Path, root: Path) -> PreparedModel:
    """A GGUF file is run where it lies; the server's tokenizer comes out of it, or lies beside it if it cannot."""
    facts = open_gguf(source)
    digest = _digest([source], "gguf")
    tokenizer = facts.tokenizer()
    beside = source.with_name("tokenizer.json")
    written: Path | None = beside if beside.exists() else None
    if tokenizer is not None:
        content = msgspec.json.encode(tokenizer)
        folder = build_cache.keep(root / digest, len(content), lambda fresh: _write(fresh / "tokenizer.json", content))
        written = folder / "tokenizer.json"
    return PreparedModel(
        name=source.stem,
        source=source,
        folder=source,
        precision="gguf",
        context=facts.context,
        vocab=facts.vocab,
        layers=facts.layers,
        kv_heads=facts.kv_heads,
        head_dim=facts.head_dim,
        eos_token_ids=_ending(source, facts.eos),
        tokenizer_json=written,
        chat_template=facts.chat_template,
        digest=digest,
    )


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _product(form: tuple[int, ...]) -> int:
    return form[0] * (form[1] if len(form) > 1 else 1)


def _digest(files: list[Path], precision: str) -> str:
    """SHA-256 over what decides the result: the files' content, the precision, the recipe and the engine's release."""
    total = hashlib.sha256(f"trimtab {RECIPE} {precision} {_release()}".encode())
    for path in files:
        if path.exists():
            with path.open("rb") as file:
                part = hashlib.file_digest(file, "sha256").digest()
            total.update(path.name.encode() + b"\0" + part)
    return total.hexdigest()


def _release() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return re.sub(r"[^0-9.]", "", version("openvino-genai"))
    except PackageNotFoundError:
        return "none"
