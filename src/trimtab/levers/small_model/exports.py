"""The curated data as files for other trainers: Unsloth, Axolotl and LLaMA-Factory.

Tools and arguments stay JSON texts, so that no reader fills one tool's arguments into another's as nulls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trimtab.data.conversation import SYSTEM, Conversation, Message, Pair, calls_of, text_of
from trimtab.errors import ConfigError
from trimtab.levers.small_model.options import Options
from trimtab.levers.small_model.prepare import Prepared

FORMATS = ("axolotl", "llama-factory", "unsloth")

_AXOLOTL = """\
# axolotl train config.yml
base_model: {base}
datasets:
  - path: train.jsonl
    ds_type: json
    type: chat_template
    field_messages: messages
    message_field_training: train
    roles_to_train: []
    train_on_eos: turn
test_datasets:
  - path: validation.jsonl
    ds_type: json
    split: train
    type: chat_template
    field_messages: messages
    message_field_training: train
    roles_to_train: []
    train_on_eos: turn
sequence_len: {length}
adapter: {adapter}
lora_r: {rank}
lora_alpha: {alpha}
lora_target_linear: true
learning_rate: {rate}
num_epochs: 3
micro_batch_size: 4
optimizer: adamw_torch
seed: {seed}
output_dir: out
"""
_FACTORY = """\
# llamafactory-cli train train.yaml
model_name_or_path: {base}
stage: sft
do_train: true
finetuning_type: {kind}
lora_rank: {rank}
lora_target: all
dataset: trimtab
dataset_dir: .
# Take the template that the model will be served with, or it is tuned to another one.
template: qwen3
cutoff_len: {length}
learning_rate: {rate}
num_train_epochs: 3.0
per_device_train_batch_size: 4
seed: {seed}
output_dir: out
"""
_UNSLOTH = '''\
"""python train.py: LoRA on the recorded answers alone, by Unsloth."""

import json

from datasets import Dataset
from trl import SFTConfig, SFTTrainer
from unsloth import FastLanguageModel

model, tokenizer = FastLanguageModel.from_pretrained("{base}", max_seq_length={length}, load_in_4bit=False)
model = FastLanguageModel.get_peft_model(model, r={rank}, lora_alpha={alpha}, random_state={seed})


def line(row):
    """Ids, and labels for the answers alone, each to its end of turn."""
    ids, labels, done, tools = [], [], "", json.loads(row["tools"]) or None
    for place, message in enumerate(row["messages"]):
        if not message.get("train"):
            continue
        before, after = (
            tokenizer.apply_chat_template(part, tools=tools, tokenize=False, add_generation_prompt=ask)
            for part, ask in ((row["messages"][:place], True), (row["messages"][: place + 1], False))
        )
        end = after.index(tokenizer.eos_token, len(before)) + len(tokenizer.eos_token)
        for text, counts in ((before[len(done) :], False), (after[len(before) : end], True)):
            new = tokenizer(text, add_special_tokens=False)["input_ids"]
            ids, labels = ids + new, labels + (new if counts else [-100] * len(new))
        done = after[:end]
    assert len(ids) <= {length}, f"{{len(ids)}} tokens: raise max_seq_length"
    return {{"input_ids": ids, "labels": labels}}


def read(name):
    with open(name) as file:
        return Dataset.from_list([line(json.loads(row)) for row in file])


SFTTrainer(
    model=model, processing_class=tokenizer, train_dataset=read("train.jsonl"), eval_dataset=read("validation.jsonl"),
    args=SFTConfig(output_dir="out", learning_rate={rate}, num_train_epochs=3, max_length=None, seed={seed}),
).train()
model.save_pretrained_merged("out/merged", tokenizer)
'''

_CONFIGS = {
    "axolotl": ("config.yml", _AXOLOTL),
    "llama-factory": ("train.yaml", _FACTORY),
    "unsloth": ("train.py", _UNSLOTH),
}


def write(kind: str, data: Prepared, its: Options, folder: Path) -> list[Path]:
    """The files of `kind`; ConfigError for one that is not known."""
    if kind not in FORMATS:
        raise ConfigError(f"there is no export '{kind}': use one of {', '.join(FORMATS)}")
    folder.mkdir(parents=True, exist_ok=True)
    words = {
        "base": its.base or "NAME_OR_FOLDER_OF_THE_BASE_MODEL", "length": its.max_length, "rank": its.lora or 16,
        "alpha": 2 * (its.lora or 16), "rate": its.learning_rate.get("sft", 2e-4), "seed": its.seed,
        "adapter": "lora", "kind": "lora",
    }  # fmt: skip
    row, pair = (_shared, _shared_pair) if kind == "llama-factory" else (_plain, _plain_pair)
    made = [
        _lines(folder / "train.jsonl", data.train, row),
        _lines(folder / "validation.jsonl", data.validation, row),
    ]
    if data.pairs:
        made.append(_lines(folder / "pairs.jsonl", data.pairs, pair))
    name, text = _CONFIGS[kind]
    (folder / name).write_text(text.format(**words))
    made.append(folder / name)
    if kind == "llama-factory":
        made.append(folder / "dataset_info.json")
        made[-1].write_text(json.dumps(_info(bool(data.pairs)), indent=2) + "\n")
    return made


def _lines(path: Path, found: Sequence[Any], row: Callable[[Any], dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row(each), ensure_ascii=False) + "\n" for each in found))
    return path


def _plain(each: Conversation) -> dict[str, Any]:
    """The chat format, with what is taught marked."""
    messages = [{**message, "train": place in each.taught} for place, message in enumerate(each.messages)]
    return {"messages": messages, "tools": json.dumps(each.tools), "agent": each.agent}


def _plain_pair(each: Pair) -> dict[str, Any]:
    return {
        "messages": each.messages, "tools": json.dumps(each.tools), "chosen": each.chosen, "rejected": each.rejected,
        "kind": each.kind,
    }  # fmt: skip


def _shared(each: Conversation) -> dict[str, Any]:
    """ShareGPT's format: turns of people and of the model in turn, so neighbours of one side are put together."""
    system = "\n".join(text_of(m) for m in each.messages if m.get("role") in SYSTEM)
    return {"conversations": _turns(each.spoken), "system": system, "tools": _functions(each.tools)}


def _shared_pair(each: Pair) -> dict[str, Any]:
    spoken = [message for message in each.messages if message.get("role") not in SYSTEM]
    system = "\n".join(text_of(m) for m in each.messages if m.get("role") in SYSTEM)
    chosen, rejected = (_turns([answer])[0] for answer in (each.chosen, each.rejected))
    return {
        "conversations": _turns(spoken), "chosen": chosen, "rejected": rejected, "system": system,
        "tools": _functions(each.tools),
    }  # fmt: skip


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    turns: list[dict[str, str]] = []
    for message in messages:
        calls = calls_of(message)
        sender = {"tool": "observation", "assistant": "function_call" if calls else "gpt"}.get(
            str(message.get("role")), "human"
        )
        value = text_of(message)
        if calls:
            asked = [{"name": name, "arguments": given} for name, given in calls]
            value = json.dumps(asked[0] if len(asked) == 1 else asked)
        ours = sender in ("gpt", "function_call")
        if turns and (turns[-1]["from"] in ("gpt", "function_call")) == ours:
            turns[-1] = {"from": turns[-1]["from"], "value": turns[-1]["value"] + "\n" + value}
        else:
            turns.append({"from": sender, "value": value})
    return turns


def _functions(tools: Sequence[dict[str, Any]]) -> str:
    return json.dumps([tool.get("function") or tool for tool in tools]) if tools else ""


def _info(with_pairs: bool) -> dict[str, Any]:
    columns = {"messages": "conversations", "system": "system", "tools": "tools"}
    info: dict[str, Any] = {"trimtab": {"file_name": "train.jsonl", "formatting": "sharegpt", "columns": columns}}
    if with_pairs:
        ranked = {**columns, "chosen": "chosen", "rejected": "rejected"}
        info["trimtab_pairs"] = {
            "file_name": "pairs.jsonl", "formatting": "sharegpt", "ranking": True, "columns": ranked,
        }  # fmt: skip
    return info
