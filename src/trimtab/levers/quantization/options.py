"""What a user may set of quantization, and which schemes there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from trimtab.engines.weights import GROUPS, TABLES
from trimtab.errors import ConfigError

# Of the embedded engine; "bf16" leaves the weights alone and changes the key-value cache only.
EMBEDDED = ("bf16", "int8", "int4")
# By llm-compressor, for vLLM: whether the scheme looks at samples.
VLLM = {
    "fp8_dynamic": False,
    "fp8_static": True,
    "fp8_block": False,
    "w8a8": True,
    "w4a16": True,
    "w4a16_awq": True,
}
KV = {"int8": "u8", "bf16": "bf16", "f32": "f32"}
FEWEST = 16  # samples below which no statistic of activations is worth rounding by

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`model` is a shipped model's name or a checkpoint folder; `scheme` one of EMBEDDED or VLLM.

    `group` input columns share a scale at 4 bits (0: the largest of 128, 64, 32 that divides them). `mixed` is the
    share of the weights that stay in 8 bits where the rest has 4, the most sensitive ones. Weights named in `keep` are
    not touched. `samples` recorded calls are rounded by, `public_share` of them from the texts in the file `public`;
    with `calibrate` false none are. `agents` empty: all. The new endpoint is at `url` (empty: where the engine or vLLM
    listens by itself), takes the place of `endpoint` (empty: the one of that model, or the only one), is served as
    `name` and priced as `price`. `environment` is the Python that has llm-compressor.
    """

    model: str = "dealer-student"
    scheme: str = "int8"
    kv: Literal["int8", "bf16", "f32"] = "int8"
    group: int = 0
    symmetric: bool = True
    mixed: Share = 0.0
    keep: tuple[str, ...] = TABLES
    calibrate: bool = True
    samples: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 128
    agents: tuple[str, ...] = ()
    public: str = ""
    public_share: Share = 0.2
    endpoint: str = ""
    url: str = ""
    name: str = ""
    price: str = ""
    environment: str = ""
    seed: int = 0

    @property
    def embedded(self) -> bool:
        return self.scheme in EMBEDDED

    @property
    def served_name(self) -> str:
        kept = "" if self.kv == "int8" or not self.embedded else f"-kv-{self.kv}"
        return self.name or f"{self.model.rstrip('/').rpartition('/')[2]}-{self.scheme.replace('_', '-')}{kept}"

    @property
    def looks(self) -> bool:
        """Whether samples are needed."""
        if self.embedded:
            return self.calibrate and self.scheme != "bf16"
        return VLLM[self.scheme]


def read(given: Mapping[str, Any]) -> Options:
    """ConfigError names what is wrong."""
    try:
        options = msgspec.convert(dict(given), Options, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the options of quantization are wrong: {error}; see docs/quantization.md") from error
    known = (*EMBEDDED, *VLLM)
    if options.scheme not in known:
        raise ConfigError(f"scheme '{options.scheme}' is unknown: use one of {', '.join(known)}")
    if options.group not in (0, *GROUPS):
        raise ConfigError(f"group {options.group} is not supported: use one of {', '.join(map(str, GROUPS))}")
    if options.calibrate and options.samples < FEWEST:
        raise ConfigError(
            f"{options.samples} samples are too few to round by: ask for {FEWEST} or more, or calibrate = false"
        )
    return options
