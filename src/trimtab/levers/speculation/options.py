"""What a user may set of the speculation lever, as `--option NAME=VALUE`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from trimtab.errors import ConfigError

Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`target` is the model that is to be drafted for: a shipped name or a checkpoint folder. Without it no drafter can
    be trained, and acceptance is counted in words. `drafter`: which one, or "auto" for what the traffic says pays most.
    `served` is what is served with it where that is not the target itself, such as the target in fewer bits, and `url`
    where (empty: where it is now). `endpoint` names the one to be swapped; empty: all of them.

    `layers`, `hidden`, `inner` are the drafter's sizes (hidden 0: the target's, at most 256), `epochs`, `rate`, `rows`
    its training's. `crossover` is at how many tokens in a step arithmetic takes as long as reading the weights, and
    `draft_cost` what a drafted token costs, in steps of the target. `most` calls are read, the newest.
    """

    target: str = ""
    drafter: Literal["auto", "model", "lookup"] = "auto"
    served: str = ""
    url: str = ""
    endpoint: str = ""
    layers: Count = 2
    hidden: Annotated[int, msgspec.Meta(ge=0)] = 0
    inner: Count = 128
    epochs: Count = 6
    rate: Positive = 2e-3
    rows: Count = 12
    threads: Annotated[int, msgspec.Meta(ge=0)] = 1
    crossover: Positive = 8.0
    draft_cost: Annotated[float, msgspec.Meta(ge=0)] = 0.05
    most: Count = 20_000
    seed: int = 0


def read(given: dict[str, Any]) -> Options:
    """ConfigError names what is wrong."""
    try:
        options = msgspec.convert(given, Options, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the options of lever 'speculation' are wrong: {error}; see docs/speculation.md") from error
    if options.drafter == "model" and not options.target:
        raise ConfigError("a drafter is trained for one model: name it with --option 'target=\"NAME_OR_DIR\"'")
    return options
