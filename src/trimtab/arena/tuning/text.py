"""The shipped models' own byte-level BPE and chat template: how a conversation becomes token ids and a loss mask."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import MissingExtra

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
# A word is one piece without its space, so that it is the same token in a sentence and in JSON and can be copied;
# words keep their underscores (tool names); every digit stands alone (ids are copied digit by digit).
PIECES = r"[\p{L}_]+|\p{N}|[^\p{L}\p{N}_]+"


def template() -> str:
    """The chat template, in the Jinja dialect of `tokenizer_config.json`."""
    return resources.files("trimtab.arena.tuning").joinpath("template.jinja").read_text()


def render(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
    """A conversation as the text that is trained on."""
    return str(_renderer().render(messages=messages, tools=tools, add_generation_prompt=False))


def _renderer() -> Any:
    global _compiled  # compiling the template costs a hundred renderings
    if _compiled is None:
        try:
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError as error:
            raise MissingExtra("tune", "jinja2") from error
        _compiled = ImmutableSandboxedEnvironment().from_string(template())
    return _compiled


_compiled: Any = None


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE of at most `vocabulary` entries, fitted to `texts`."""
    try:
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise MissingExtra("tune", "tokenizers") from error
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2,
        special_tokens=[END, START, STOP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=3,
        show_progress=False,
    )
    # The markers are cut out beforehand, so that no merge is learnt across them.
    markers = re.compile("|".join(re.escape(marker) for marker in (END, START, STOP, CALL_OPEN, CALL_CLOSE)))
    tokenizer.train_from_iterator((part for text in texts for part in markers.split(text)), trainer)
    tokenizer.add_tokens([CALL_OPEN, CALL_CLOSE])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """The files by which transformers, vLLM and the embedded engine load it."""
    import json

    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "eos_token": STOP,
        "pad_token": END,
        "bos_token": None,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "chat_template": template(),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(template())


def encode(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[bool]]:
    """(ids, mask): True where the loss counts, that is, the assistant's tokens including the end of turn."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    header = tokenizer.encode(f"{START}assistant\n", add_special_tokens=False).ids
    stop = tokenizer.token_to_id(STOP)
    mask, inside = [False] * len(ids), False
    for place, token in enumerate(ids):
        if inside:
            mask[place] = True
            inside = token != stop
        elif place + 1 >= len(header) and ids[place + 1 - len(header) : place + 1] == header:
            inside = True
    return ids, mask
