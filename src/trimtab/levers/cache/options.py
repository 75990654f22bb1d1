"""What a user may set of the cache, in a Deployment's step: `[[steps]] lever = "cache"`, `options = { ... }`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from trimtab.errors import ConfigError
from trimtab.levers.cache import eligibility
from trimtab.levers.cache.eligibility import Rule
from trimtab.levers.cache.partition import Tags

Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Lives(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds that an answer is kept, by how soon what it speaks of changes."""

    stable: Seconds = 7 * 86_400.0
    changing: Seconds = 6 * 3_600.0


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`folder` is below the store's and holds the entries; two steps that name the same one share them.

    `alpha` bounds the wrong hits among all hits; `explore` is the share of would-be hits that goes upstream all the
    same, to be compared. `history` is the most turns before the last one for which meanings are compared. `share_from`
    is the number of tenants that must have had the same answer before any other tenant gets it; 0: never. What was
    found is given again for `memory_s` without looking whether it was deleted meanwhile. `wait_s`: so long a request
    waits for the same one that is under way. `version` and `corpus` part what was kept under another policy or another
    state of the documents.
    """

    folder: str = "cache"
    alpha: Share = 0.01
    explore: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02
    semantic: bool = True
    encoder: str = "minilm"
    history: Count = 4
    max_temperature: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    rules: tuple[Rule, ...] = ()
    lives: Lives = Lives()
    tags: Tags = Tags()
    corpus: str = ""
    version: str = ""
    share_from: Count = 0
    admit_per_hour: Annotated[float, msgspec.Meta(ge=0)] = 6_000.0
    wait_s: Seconds = 60.0
    memory_s: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    memory_mb: Annotated[float, msgspec.Meta(gt=0)] = 64.0
    max_request_bytes: Count = 128 * 1024
    max_answer_bytes: Count = 256 * 1024
    seed: int = 0


def read(given: dict[str, Any]) -> Options:
    """The options of a step; ConfigError names what is wrong."""
    try:
        options = msgspec.convert(given, Options, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the options of step 'cache' are wrong: {error}; see docs/cache.md") from error
    for rule in options.rules:
        if not eligibility.is_level(rule.level):
            known = ", ".join(eligibility.levels())
            raise ConfigError(f"level '{rule.level}' of a rule of step 'cache' is unknown: use one of {known}")
    if options.share_from == 1 or "/" in options.folder or options.folder in ("", ".", ".."):
        what = "share_from = 1 shares with everyone" if options.share_from == 1 else f"folder '{options.folder}'"
        raise ConfigError(f"{what}: step 'cache' wants 0 or at least 2 tenants, and a plain folder name")
    return options
