"""The same stages by trl and peft, for models and machines larger than this project's own loop is for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimtab.errors import require
from trimtab.levers.small_model.learn import Task
from trimtab.levers.small_model.tokens import Codec, Line, Preference

STAGES = ("cpt", "sft", "dpo", "onpolicy")


def adapted(model: Any, rank: int, seed: int) -> Any:
    """`model` with LoRA adapters of `rank` on all its linear layers; only they learn."""
    require("tune", "peft")
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def run(
    model: Any, codec: Codec, task: Task, lessons: tuple[Sequence[Line], Sequence[Preference]], folder: Path,
    teacher: Any = None,
) -> list[dict[str, float]]:  # fmt: skip
    """One stage in place, resumed from `folder`'s last checkpoint where there is one. The log."""
    require("tune", "trl", "datasets", "accelerate")
    lines, preferences = lessons
    if task.name == "dpo":
        trainer = _dpo(model, codec, task, preferences, folder)
    elif task.name == "onpolicy":
        trainer = _onpolicy(model, codec, task, lines, folder, teacher)
    else:
        trainer = _sft(model, codec, task, lines, folder)
    begun = any(folder.glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=begun or None)
    return [{"step": entry["step"], "loss": entry["loss"]} for entry in trainer.state.log_history if "loss" in entry]


def _arguments(task: Task, folder: Path, at_once: int) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": task.steps,
        "learning_rate": task.rate,
        "per_device_train_batch_size": at_once,
        "seed": task.seed,
        "logging_steps": 10,
        "save_steps": 50,
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not _has_gpu(),
        "bf16": False,
        "max_length": None,
    }


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _sft(model: Any, codec: Codec, task: Task, lines: Sequence[Line], folder: Path) -> Any:
    """On ids and labels of ours: so no tool gets another's arguments as nulls, nothing is cut, and the mask is the
    one that was checked."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    whole = task.name == "cpt"
    rows = [{"input_ids": line.ids, "labels": line.ids if whole else line.labels} for line in lines]
    at_once = max(1, task.tokens // max(1, sum(len(line.ids) for line in lines) // len(lines)))
    config = SFTConfig(**_arguments(task, folder, min(at_once, 32)))
    return SFTTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=codec.tokenizer)


def _dpo(model: Any, codec: Codec, task: Task, preferences: Sequence[Preference], folder: Path) -> Any:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    told = codec.tokenizer.decode
    rows = [
        {"prompt": told(each.prompt), "chosen": told(each.chosen), "rejected": told(each.rejected)}
        for each in preferences
    ]
    config = DPOConfig(**_arguments(task, folder, 8), beta=task.beta)
    return DPOTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=codec.tokenizer)


def _onpolicy(model: Any, codec: Codec, task: Task, lines: Sequence[Line], folder: Path, teacher: Any) -> Any:
    from datasets import Dataset
    from trl import DistillationConfig, DistillationTrainer

    told = codec.tokenizer.decode
    rows = [{"prompt": told(line.ids[:start])} for line in lines for start, _, _ in line.turns]
    arguments = {name: held for name, held in _arguments(task, folder, 8).items() if name != "max_length"}
    config = DistillationConfig(**arguments, max_completion_length=96)
    return DistillationTrainer(
        model=model, teacher_model=teacher, args=config, train_dataset=Dataset.from_list(rows),
        processing_class=codec.tokenizer,
    )  # fmt: skip
