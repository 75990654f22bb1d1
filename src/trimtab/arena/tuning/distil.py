"""The plain distiller: a student's loss against its teacher's logits (Hinton et al. 2015), token by token.

Knows no data and no optimiser.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import ModelError

if TYPE_CHECKING:
    import torch


def teacher(folder: Path) -> Any:
    """The frozen teacher in bf16; ModelError where there is none."""
    import torch
    from transformers import AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        raise ModelError(f"there is no teacher at {folder}: train it first, or name another")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval().requires_grad_(False)


def logits_of(model: Any, inputs: dict[str, torch.Tensor], counted: torch.Tensor) -> torch.Tensor:
    """[n, V] of the n places of `counted` [B, T-1] alone; the head is the most of a small model's work."""
    hidden = model.model(**inputs).last_hidden_state[:, :-1]
    logits: torch.Tensor = model.lm_head(hidden[counted])
    return logits


def kl_loss(student: torch.Tensor, teachers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean KL(teacher || student) in nats over the places where the teacher's first choice is the label, per counted
    place; where the teacher is wrong, its opinion is no lesson. `student`, `teachers` [n, V], `labels` [n]."""
    from torch.nn.functional import kl_div, log_softmax

    right = teachers.argmax(-1) == labels
    if not right.any():
        return student.sum() * 0.0
    told, wanted = log_softmax(student[right].float(), -1), log_softmax(teachers[right].float(), -1)
    return kl_div(told, wanted, log_target=True, reduction="sum") / len(labels)
