"""Criteria: what a candidate must hold to be promoted, declared before the run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from trimtab.config import placed
from trimtab.errors import ConfigError
from trimtab.verdict import Margin

Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Bound = Annotated[float, msgspec.Meta(ge=0)]
_FINEST = 1e-4  # a hundredth of a point: 86 million clusters at 10 % flips
_SUREST = 1e-9
Count = Annotated[int, msgspec.Meta(ge=0)]


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request misses when its first token comes after `ttft_s`, its tokens are `itl_s` apart in the mean, or the
    whole takes longer than `total_s` (0: no bound). Fewer than `missed` of the candidate's requests may."""

    ttft_s: Bound = 0.0
    itl_s: Bound = 0.0
    total_s: Bound = 0.0
    missed: Share = 0.05

    def __post_init__(self) -> None:
        if not (self.ttft_s or self.itl_s or self.total_s):
            raise ConfigError("latency has no bound: give it ttft_s, itl_s or total_s, in seconds")


class Saving(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The candidate costs less than (1 − `share`) of the baseline; a `share` below 0 is what it may cost more.

    The difference of one cluster is cut at `cap_usd` either way; 0 sets it from the first clusters, which then do not
    count.
    """

    share: Annotated[float, msgspec.Meta(lt=1, gt=-10)]
    cap_usd: Bound = 0.0


class Criteria(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The conjunction, each part at `alpha`.

    `margin` is the loss of quality accepted, in true units: an imperfect judge's noise is allowed for. The harm test
    rejects at a mean difference below `harm` (None: −margin/2). `flips` is the share of items expected to change;
    it sets `cap`, the clusters after which a run is inconclusive (0: 1.6 times a fixed sample of 90 % power).

    `slices` are the protected slices with their margins (0: the whole's); one with fewer than `slice_minimum` clusters
    is uncertified. `safety` is the margin on items with the judge 'safety'. `length` are the bounds of the candidate's
    output tokens over the baseline's (empty: none). Of more than `missing` of the items without a score the run is
    inconclusive. A suite is retired after `uses` verdicts.
    """

    margin: float = 0.02
    alpha: Share = 0.05
    harm: float | None = None
    flips: Share = 0.1
    cap: Count = 0
    slices: dict[str, float] = {}
    slice_minimum: Annotated[int, msgspec.Meta(ge=1)] = 50
    safety: float = 0.02
    latency: Latency | None = None
    cost: Saving | None = None
    length: tuple[float, ...] = (0.9, 1.1)
    missing: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.01
    uses: Annotated[int, msgspec.Meta(ge=1)] = 5

    def __post_init__(self) -> None:
        for value in (self.margin, self.safety, *(value or self.margin for value in self.slices.values())):
            if Margin(value).value < _FINEST:
                raise ConfigError(
                    f"a margin of {value:g} needs more clusters than anyone has: take {_FINEST:g} or more"
                )
        if not _SUREST <= self.alpha < 0.5:
            raise ConfigError(f"an alpha of {self.alpha:g} has no use: take at least {_SUREST:g}, and less than a half")
        if self.harm is not None and not -self.margin <= self.harm <= self.margin:
            raise ConfigError(f"harm = {self.harm:g} is outside ±margin: -{self.margin / 2:g} is the usual policy")
        if self.length and not (len(self.length) == 2 and 0 <= self.length[0] < 1 < self.length[1]):
            raise ConfigError("length must be two bounds round 1, such as [0.9, 1.1], or [] for none")

    def margin_of(self, name: str) -> float:
        """The margin of a slice; that of the whole where it has none of its own."""
        return self.slices.get(name) or self.margin


def read(path: Path) -> Criteria:
    """The criteria in the TOML file at `path`; a ConfigError names the line at fault."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Criteria)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}; name the file with --criteria") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{placed(path, str(error))}; see docs/gate.md for every key") from error
    except ConfigError as error:  # of a value that is of its type and cannot be all the same
        raise ConfigError(placed(path, str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
