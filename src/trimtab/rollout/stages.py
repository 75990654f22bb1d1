"""Stages of a rollout, and the plan that says what each of them must show. Plain values; knows no database."""

from __future__ import annotations

import enum
import math
import secrets
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec

from trimtab.config import placed
from trimtab.deployment import Deployment
from trimtab.errors import ConfigError

# The file in the store's folder that holds the rollouts (`rollout.register`).
REGISTER = "rollout.sqlite"


class Stage(enum.StrEnum):
    """SHADOW: both answer, the baseline serves. CANARY: the candidate serves a share of the sessions. FULL: all.
    ROLLED_BACK and ENDED are final: what is configured serves."""

    SHADOW = "shadow"
    CANARY = "canary"
    FULL = "full"
    ROLLED_BACK = "rolled-back"
    ENDED = "ended"

    @property
    def next(self) -> Stage:
        """The stage that follows; ConfigError where none does."""
        if self is Stage.SHADOW:
            return Stage.CANARY
        if self is Stage.CANARY:
            return Stage.FULL
        raise ConfigError(f"a rollout that is {self} goes no further: see `trimtab rollout status`")

    @property
    def again_s(self) -> float:
        """After how many seconds a session may be compared again. A Verdict counts each once; who only watches for a
        change would run out of sessions."""
        return math.inf if self.concludes else 3600.0

    @property
    def runs(self) -> bool:
        return self in (Stage.SHADOW, Stage.CANARY, Stage.FULL)

    @property
    def concludes(self) -> bool:
        """Whether the stage ends in a Verdict; the last one is only watched."""
        return self in (Stage.SHADOW, Stage.CANARY)


Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Plan(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is asked of a candidate, and what watching it may cost.

    The mean of candidate − baseline must be above −`margin`, tested at `alpha`; `errors` is the share of the
    candidate's calls that may fail. A call is late beyond `slo_ms` in all or `ttft_ms` to a stream's first token
    (None: no limit), and the share `late` may be. `flips` is the share of answers expected to change. A stage that has
    not decided after `cap` clusters (0: 1.6 times the fixed sample at those flips) is inconclusive.

    The canary serves the share `canary` of sessions. The share `sampled` of calls is asked twice, at most `at_once` at
    a time and `per_s` a second in each process. At most the share `false_alarms` of healthy candidates sets off any one
    detector within `per` pairs or calls.
    `judge` is the spec of an `evals` judge; None: agreement with the baseline's answer. With `twice` the baseline is
    asked a second time, and what it does not agree with itself on is not held against the candidate. With `automatic`
    a stage that promotes is followed by the next one by itself.
    """

    margin: Share = 0.02
    alpha: Share = 0.05
    errors: Share = 0.05
    slo_ms: Positive | None = None
    ttft_ms: Positive | None = None
    late: Share = 0.05
    flips: Share = 0.1
    cap: Annotated[int, msgspec.Meta(ge=0)] = 0
    canary: Share = 0.1
    sampled: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    at_once: Count = 8
    per_s: Positive = 10.0
    false_alarms: Share = 0.01
    per: Count = 5000
    judge: dict[str, Any] | None = None
    twice: bool = False
    automatic: bool = False

    @property
    def has_slo(self) -> bool:
        return self.slo_ms is not None or self.ttft_ms is not None

    @property
    def run_of_failures(self) -> int:
        """Failures in a row that trip at once: so many that, at the accepted share of them, the expected number of such
        runs within `per` calls is below `false_alarms` (union bound: per · errors^k)."""
        return max(2, math.ceil(math.log(self.false_alarms / self.per) / math.log(self.errors)))


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate on its way. `revision` counts its changes, `since_ns` is the last one's time, `reason` its why;
    `verdict` is the ledger's hash of what the stage was entered with; `threshold` is that of the last stage's detector
    of quality (0: the proven one)."""

    id: str
    baseline: Deployment
    candidate: Deployment
    plan: Plan = Plan()
    stage: Stage = Stage.SHADOW
    revision: int = 1
    since_ns: int = 0
    reason: str = ""
    verdict: str = ""
    threshold: float = 0.0

    @property
    def share(self) -> float:
        """Of the sessions that the candidate serves."""
        if self.stage is Stage.CANARY:
            return self.plan.canary
        return 1.0 if self.stage is Stage.FULL else 0.0


def read(path: Path) -> Plan:
    """The plan in the TOML file at `path`; a ConfigError names the line at fault."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Plan)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}; name the file with --plan") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{placed(path, str(error))}; see docs/rollout.md for every key") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def changed(plan: Plan, given: dict[str, Any]) -> Plan:
    """`plan` with the values in `given`; ConfigError where one cannot be."""
    try:
        return msgspec.convert({**msgspec.structs.asdict(plan), **given}, Plan)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the plan of the rollout: {error}; see docs/rollout.md") from error


def begun(baseline: Deployment, candidate: Deployment, plan: Plan) -> Rollout:
    """A new rollout in its first stage; ConfigError where the candidate could not take the baseline's place."""
    if same(baseline, candidate):
        raise ConfigError("the candidate is the Deployment that is served already: change something first")
    if not any(candidate.endpoint_for(model) for model in baseline.models):
        known = ", ".join(baseline.models)
        raise ConfigError(f"the candidate serves none of {known}, which clients ask for: give it routes for them")
    name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
    if candidate.name == baseline.name:
        candidate = msgspec.structs.replace(candidate, name=f"candidate-{name}")
    return Rollout(id=name, baseline=baseline, candidate=candidate, plan=plan, since_ns=time.time_ns())


def same(one: Deployment, other: Deployment) -> bool:
    """Whether both serve alike, whatever they are called."""
    return msgspec.structs.replace(one, name="") == msgspec.structs.replace(other, name="")
