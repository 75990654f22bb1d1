"""Where a model begins: a checkpoint, or a small one made anew with a vocabulary of the traffic's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimtab.arena.tuning import distil
from trimtab.arena.tuning.model import build
from trimtab.arena.tuning.recipe import Recipe
from trimtab.arena.tuning.text import END, STOP, render, template, train_tokenizer
from trimtab.data.conversation import Conversation
from trimtab.errors import ConfigError, ModelError
from trimtab.levers.small_model.options import Options
from trimtab.levers.small_model.tokens import Codec, Line


def of(its: Options, train: Sequence[Conversation], held: Path | None) -> tuple[Any, Any]:
    """(model in float32, tokenizer of transformers). From `held`, an earlier stage of the same run, where there is
    one; else the base; else anew, with the teacher's vocabulary if there is a teacher. ModelError."""
    if held is not None:
        return loaded(held)
    if its.base:
        return loaded(Path(its.base))
    tokenizer = _tokenizer(its, train)
    return build(_recipe(its), tokenizer.backend_tokenizer), tokenizer


def loaded(folder: Path) -> tuple[Any, Any]:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model, told = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder} cannot be loaded ({' '.join(str(error).split())[:200]}): copy it again") from error
    if told["missing_keys"] or told["mismatched_keys"]:
        name = sorted(str(key) for key in (*told["missing_keys"], *told["mismatched_keys"]))[0]
        raise ModelError(f"{folder}: tensor '{name}' is missing or of another shape: copy the checkpoint again")
    broken = next((name for name, p in model.named_parameters() if not bool(torch.isfinite(p).all())), None)
    if broken is not None:
        raise ModelError(f"{folder}: tensor '{broken}' holds values that are no numbers: take another checkpoint")
    return model, tokenizer


def _tokenizer(its: Options, train: Sequence[Conversation]) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if its.teacher:
        return AutoTokenizer.from_pretrained(its.teacher)
    texts = [render(each.messages, each.tools) for each in train]
    held = train_tokenizer(texts, its.shape.vocabulary)
    return PreTrainedTokenizerFast(
        tokenizer_object=held, eos_token=STOP, pad_token=END, chat_template=template(),
        clean_up_tokenization_spaces=False, model_max_length=its.max_length,
    )  # fmt: skip


def _recipe(its: Options) -> Recipe:
    shape = its.shape
    return Recipe(
        name="small", hidden=shape.hidden, layers=shape.layers, heads=shape.heads, kv_heads=shape.kv_heads,
        head_dim=shape.head_dim, intermediate=shape.intermediate, steps=1, context=its.max_length,
    )  # fmt: skip


def teacher_of(its: Options, student: Any) -> Any:
    """ConfigError where its vocabulary is another: logits are compared token by token."""
    found = distil.teacher(Path(its.teacher))
    if found.config.vocab_size != student.config.vocab_size:
        raise ConfigError(
            f"the teacher's vocabulary has {found.config.vocab_size} entries, the student's "
            f"{student.config.vocab_size}: logits can be learned only from a teacher with the same one"
        )
    return found


def corpus(folder: Path, codec: Codec, most: int) -> list[Line]:
    """Text files as lines that count whole, cut at paragraphs; each piece has the file's name before it as context."""
    found: list[Line] = []
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".txt", ".md")) if folder.is_dir() else []
    if not files:
        raise ConfigError(f"option corpus = '{folder}' holds no .txt or .md file")
    for path in files:
        head = codec.encode(f"{path.stem}\n")
        ids: list[int] = []
        for paragraph in path.read_text(encoding="utf-8", errors="replace").split("\n\n"):
            piece = codec.encode(paragraph + "\n\n")
            if ids and len(head) + len(ids) + len(piece) > most:
                found.append(_whole(head, ids))
                ids = []
            ids += piece[: most - len(head)]
        found.append(_whole(head, ids))
    return found


def _whole(head: list[int], ids: list[int]) -> Line:
    return Line([*head, *ids], [-100] * len(head) + ids, [(len(head), len(head) + len(ids), "text")], "corpus")
