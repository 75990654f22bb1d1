"""What a user may set of the lever: which agents, from which data, in which stages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from trimtab.data import curate
from trimtab.errors import ConfigError

Count = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Rate = Annotated[float, msgspec.Meta(gt=0)]
StageName = Literal["cpt", "sft", "dpo", "distil", "onpolicy"]
NEEDS_TEACHER = ("distil", "onpolicy")


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a model that is begun anew: a Qwen3 with its own vocabulary, 0.9M parameters where nothing else is said."""

    hidden: Count = 128
    layers: Count = 4
    heads: Count = 2
    kv_heads: Count = 1
    head_dim: Count = 64
    intermediate: Count = 384
    vocabulary: Count = 2048


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`agents`: which of them; none: all. `kind`: "label" a head over the sentence encoder, "generate" a language
    model, "auto" a head where the outputs are a closed set.

    Data: `licences` is the class of each endpoint's (or model's) output, "open", "own" or "closed"; `success` the score
    that a trace must have had; `gate` suites ("FILE.jsonl", "arena:test:500") that must not be trained on; `acts` the
    tools that change something; `corpus` a folder of text files for continual pretraining; `traffic` uses only that
    share of the sessions.

    Model: `base` a checkpoint folder to begin from, else `shape` is begun anew; `lora` the rank, 0 for full tuning.
    `teacher` is a checkpoint folder with the same vocabulary. `trainer`: "plain" is ours, "trl" is trl and peft.

    Stages in their order, each `steps` long; `tokens` a step; `price` is what the small model's calls cost in share of
    the old one's, for the forecast, and `priced` whose price in the table they have (empty: none until one is set).
    `endpoint` is who is swapped, `url` where the small model will be.
    """

    agents: tuple[str, ...] = ()
    kind: Literal["auto", "label", "generate"] = "auto"
    licences: dict[str, str] = {}
    success: str = ""
    least: float = 1.0
    personal_data: bool = False
    gate: tuple[str, ...] = ()
    acts: tuple[str, ...] = ()
    corpus: str = ""
    traffic: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    near: Share = 0.9
    validation: Share = 0.1
    base: str = ""
    shape: Shape = Shape()
    lora: Annotated[int, msgspec.Meta(ge=0)] = 0
    teacher: str = ""
    trainer: Literal["plain", "trl"] = "plain"
    stages: tuple[StageName, ...] = ("sft",)
    steps: dict[str, Count] = {}
    tokens: Count = 4096
    max_length: Count = 2048
    learning_rate: dict[str, Rate] = {}
    beta: Rate = 0.1
    alpha: Share = 0.05
    encoder: str = "minilm"
    price: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    priced: str = ""
    endpoint: str = ""
    url: str = "http://127.0.0.1:8401/v1"
    seed: int = 0

    def steps_of(self, stage: str) -> int:
        return self.steps.get(stage, 300)

    def rate_of(self, stage: str) -> float:
        anew = {"sft": 2e-3, "cpt": 2e-3, "distil": 1e-3, "onpolicy": 3e-4, "dpo": 1e-4}
        tuned = {"sft": 2e-4, "cpt": 1e-4, "distil": 1e-4, "onpolicy": 1e-5, "dpo": 5e-6}
        return self.learning_rate.get(stage, (anew if not self.base or self.lora else tuned)[stage])

    @property
    def digest(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    @property
    def rules(self) -> curate.Rules:
        return curate.Rules(
            licences=self.licences, success=self.success, least=self.least, personal_data=self.personal_data,
            agents=self.agents,
        )  # fmt: skip


def read(given: Mapping[str, Any]) -> Options:
    """The options; ConfigError names what is wrong."""
    try:
        options = msgspec.convert(dict(given), Options, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the options of lever 'small_model' are wrong: {error}; see docs/small_model.md") from error
    for name, known in options.licences.items():
        if known not in curate.CLASSES:
            raise ConfigError(f"licence class '{known}' of '{name}' is unknown: use one of {', '.join(curate.CLASSES)}")
    for what, folder in (("base", options.base), ("teacher", options.teacher)):
        if folder and not (Path(folder) / "config.json").is_file():
            raise ConfigError(f"option {what} = '{folder}' is no checkpoint folder: it has no config.json")
    taught = [stage for stage in options.stages if stage in NEEDS_TEACHER]
    if taught and not options.teacher:
        raise ConfigError(f"stage '{taught[0]}' learns from a teacher's logits: name its folder with teacher = '...'")
    unknown = sorted({*options.steps, *options.learning_rate} - {"cpt", "sft", "dpo", "distil", "onpolicy"})
    if unknown:
        raise ConfigError(f"there is no stage '{unknown[0]}': stages are cpt, sft, dpo, distil and onpolicy")
    if options.lora and not options.base:
        raise ConfigError("LoRA tunes a model that can already talk: name one with base = '...', or set lora = 0")
    return options
