"""Suites written for inspect_ai, run as they are against any endpoint, and stopped early by our own test.

Needs the extra `evals`. A task file is code, and is run: read it first.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from trimtab.errors import ConfigError, FormatError, TrimtabError, UpstreamError, require
from trimtab.evals import imported, inspect_logs
from trimtab.evals.imported import Choice, Result
from trimtab.evals.inspect_logs import content_of, item_of, place_of, score_of

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.dataset import Sample
    from inspect_ai.log import EvalLog, EvalSpec
    from inspect_ai.scorer import SampleScore
    from inspect_ai.util import EarlyStop

# More of the samples missing than this is no verdict.
MOST_MISSING = 0.01
_MANAGER = "trimtab"


class Test(Protocol):
    """What decides: `stats.sequential.Process`, or anything that is fed differences the same way."""

    promotes: Any
    rejects: Any

    def feed(self, x: float, /) -> None: ...


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is run. `task` is `file.py`, `file.py@name` or a registered name, `arguments` go to it; `url` ends in /v1;
    the key is read from the environment variable `key_env`. At most `at_once` samples are under way."""

    task: str
    url: str
    model: str
    logs: Path
    key_env: str = ""
    arguments: dict[str, Any] = {}
    choice: Choice = Choice()
    epochs: int | None = None
    limit: int | None = None
    seed: int = 0
    at_once: int = 8


class Turn(msgspec.Struct, frozen=True):
    """A cluster in its turn: the mean difference candidate − baseline over its items, None where all are missing."""

    cluster: str
    difference: float | None
    items: int
    missing: int


class Ran(msgspec.Struct, frozen=True):
    """A run: its log and its results; where there was a test also its decision, the clusters in the order that they
    were taken, the samples that were never asked, and the hash of the whole order."""

    log: Path
    results: list[Result]
    decision: str = ""
    turns: list[Turn] = []
    spared: int = 0
    order: str = ""

    @property
    def n(self) -> int:
        """The clusters that count."""
        return sum(turn.difference is not None for turn in self.turns)


def run(plan: Plan, baseline: Sequence[Result] | None = None, test: Test | None = None) -> Ran:
    """Run the task; with `baseline` and `test`, sample by sample against these, until the test has decided.

    Inspect's log is as usual, less the samples that were not asked. Errors: MissingExtra; ConfigError for the task;
    FormatError where the baseline is not of this task; UpstreamError where the run fails.
    """
    require("evals", "inspect_ai")
    task = _prepared(plan)
    stopper = None
    if test is not None:
        if baseline is None:
            raise ConfigError("a test compares with a baseline: read its log with evals.inspect_logs first")
        stopper = Stopper(imported.by_id(baseline, "baseline"), test, plan)
    log = _evaluated(plan, task, stopper)
    if stopper is not None and stopper.problem is not None:
        raise stopper.problem
    if log.status != "success":
        reason = " ".join(log.error.message.split())[:200] if log.error else log.status
        raise UpstreamError(f"inspect could not run '{plan.task}' at {plan.url}: {reason}")
    failures = [sample.error.message for sample in log.samples or [] if sample.error]
    if failures and len(failures) == len(log.samples or []):
        raise UpstreamError(f"no sample was answered at {plan.url}: {' '.join(failures[0].split())[-200:]}")
    spared = log.results.early_stopping.early_stops if log.results and log.results.early_stopping else []
    results = inspect_logs.of(log, plan.choice)
    if stopper is None:
        return Ran(Path(log.location), results)
    return Ran(Path(log.location), results, stopper.decision, stopper.turns, len(spared), stopper.order)


class Stopper:
    """Inspect's early stopping by our test: scores are kept until their turn in the fixed order, and the test is fed a
    cluster's mean difference at a time. Completions come in shortest first, which would be an order of its own."""

    def __init__(self, baseline: dict[str, Result], test: Test, plan: Plan) -> None:
        self._baseline, self._test, self._plan = baseline, test, plan
        self._scores: dict[str, float | None] = {}
        self._waiting: list[str] = []
        self._members: dict[str, list[str]] = {}
        self.problem: TrimtabError | None = None
        self.turns: list[Turn] = []
        self._taken = self._missing = 0
        self.order = ""

    @property
    def decision(self) -> str:
        """'promote', 'reject' or 'inconclusive'; while too many scores are missing it is open."""
        if self._missing > MOST_MISSING * self._taken or self.problem is not None:
            return "inconclusive"
        return "promote" if self._test.promotes else "reject" if self._test.rejects else "inconclusive"

    async def start_task(self, task: EvalSpec, samples: list[Sample], epochs: int) -> str:
        """Fix the order, and hold the samples against the baseline's."""
        _hooked()
        _watched()[task.eval_id] = self
        members: dict[str, list[str]] = defaultdict(list)
        for sample in samples:
            named = f"sample {sample.id}"
            cluster = place_of(sample.metadata, self._plan.choice.cluster, named) or str(sample.id)
            for epoch in range(1, epochs + 1):
                item = item_of(sample.id, epoch)
                before = self._baseline.get(item)
                if before is None:
                    raise self._failed(f"the baseline has no sample '{item}': run both on the same task")
                if before.cluster != cluster or before.content not in ("", content_of(sample)):
                    raise self._failed(f"sample '{item}' is another one in the baseline: run both on one version")
                members[cluster].append(item)
        self._members = dict(members)
        self._waiting = sorted(self._members, key=lambda cluster: _place(self._plan.seed, cluster))
        self.order = hashlib.sha256(msgspec.json.encode([self._plan.seed, self._waiting])).hexdigest()
        return _MANAGER

    def _failed(self, message: str) -> FormatError:
        self.problem = FormatError(message)
        return self.problem

    async def schedule_sample(self, id: str | int, epoch: int) -> EarlyStop | None:  # noqa: A002 (inspect's name)
        """Spare the sample where all is decided."""
        from inspect_ai.util import EarlyStop

        if self.problem is None and self.decision == "inconclusive":
            return None
        return EarlyStop(id=id, epoch=epoch, reason=self.decision)

    async def complete_sample(self, id: str | int, epoch: int, scores: dict[str, SampleScore]) -> None:  # noqa: A002
        """Keep the score and feed what is now in turn."""
        item = item_of(id, epoch)
        try:
            self._keep(item, self._score(scores, f"sample {item}"))
        except FormatError as error:
            # Inspect would log it and go on: nothing more is asked, and `run` raises it.
            self.problem = error

    def _score(self, scores: dict[str, SampleScore], where: str) -> float | None:
        wanted = self._plan.choice.metric
        if not wanted and len(scores) > 1:
            raise FormatError(f"{where}: the scorers are {', '.join(sorted(scores))}: name the one to take")
        found = scores.get(wanted) if wanted else next(iter(scores.values()), None)
        return None if found is None else score_of(found.score.value, self._plan.choice, where)

    def lost(self, id: str | int, epoch: int) -> None:  # noqa: A002
        """A sample that ended in an error: inspect tells early stopping nothing of it."""
        self._keep(item_of(id, epoch), None)

    def _keep(self, item: str, score: float | None) -> None:
        self._scores.setdefault(item, score)
        while self._waiting and all(each in self._scores for each in self._members[self._waiting[0]]):
            self._feed(self._members[self._waiting[0]])

    def _feed(self, items: Sequence[str]) -> None:
        pairs = [(self._baseline[item].score, self._scores[item]) for item in items]
        differences = [after - before for before, after in pairs if before is not None and after is not None]
        mean = sum(differences) / len(differences) if differences else None
        self.turns.append(Turn(self._waiting.pop(0), mean, len(pairs), len(pairs) - len(differences)))
        self._taken += len(pairs)
        self._missing += len(pairs) - len(differences)
        if mean is not None and not (self._test.promotes or self._test.rejects):
            self._test.feed(mean)

    async def complete_task(self) -> dict[str, Any]:
        """What inspect's log says of it."""
        return {"decision": self.decision, "clusters": len(self.turns), "missing": self._missing, "order": self.order}


def _place(seed: int, cluster: str) -> tuple[bytes, str]:
    return hashlib.sha256(f"{seed}:{cluster}".encode()).digest(), cluster


def _prepared(plan: Plan) -> Task:
    """The task, its samples named as inspect would name them and put into the fixed order."""
    # Not public, but what `inspect eval` does; the version is pinned.
    from inspect_ai._eval.loader import create_file_tasks, load_tasks
    from inspect_ai.dataset import Dataset, MemoryDataset

    path = plan.task.partition("@")[0]
    if path.endswith(".py") and not Path(path).is_file():
        raise ConfigError(f"there is no task file '{path}': name one, as FILE.py or FILE.py@TASK")
    try:
        alone = plan.task == path and path.endswith(".py")
        tasks = (
            create_file_tasks(Path(path), None, plan.arguments) if alone else load_tasks([plan.task], plan.arguments)
        )
    except (LookupError, OSError, TypeError, ValueError, ImportError, SyntaxError) as error:
        raise ConfigError(f"the task '{plan.task}' cannot be made: {' '.join(str(error).split())[:200]}") from error
    if len(tasks) != 1:
        names = ", ".join(task.name for task in tasks) or "none"
        raise ConfigError(f"'{plan.task}' has the tasks {names}: name one, as FILE.py@TASK")
    task = tasks[0]
    if not isinstance(task.dataset, Dataset):
        raise ConfigError(f"the samples of '{plan.task}' are made while it runs: there is no fixed order of them")
    samples = list(task.dataset)[: plan.limit]
    for number, sample in enumerate(samples, 1):
        sample.id = number if sample.id is None else sample.id
    key = plan.choice.cluster
    samples.sort(key=lambda each: _place(plan.seed, place_of(each.metadata, key, f"sample {each.id}") or str(each.id)))
    task.dataset = MemoryDataset(samples, name=task.dataset.name, location=task.dataset.location)
    return task


def _evaluated(plan: Plan, task: Task, stopper: Stopper | None) -> EvalLog:
    from inspect_ai import eval as evaluate
    from inspect_ai import task_with
    from inspect_ai.model import GenerateConfig, get_model

    if stopper is not None:
        task = task_with(task, early_stopping=stopper)
    key = os.environ.get(plan.key_env, "") if plan.key_env else ""
    # Some servers ask for no key, but inspect always sends one.
    model = get_model(
        f"openai-api/trimtab/{plan.model}",
        base_url=plan.url,
        api_key=key or "none",
        memoize=False,
        config=GenerateConfig(max_connections=plan.at_once, max_retries=2),
    )
    (log,) = evaluate(
        task,
        model=model,
        epochs=plan.epochs,
        log_dir=str(plan.logs),
        display="none",
        log_level="error",
        fail_on_error=False,
        max_samples=plan.at_once,
        ctl_server=False,
    )
    return log


_STOPPERS: dict[str, Stopper] = {}


def _watched() -> dict[str, Stopper]:
    """Whose samples are under way, by inspect's id of the run."""
    return _STOPPERS


def _hooked() -> None:
    """Have inspect tell us of samples that end in an error. Registering it again replaces it.

    Done when a run has begun: of hooks that are there before, inspect prints a list.
    """
    from inspect_ai.hooks import Hooks, SampleEnd, TaskEnd, hooks

    @hooks(name="trimtab", description="Tells the early stopping of samples that failed.")
    class Failures(Hooks):  # type: ignore[misc]  # inspect is not there where types are checked
        async def on_sample_end(self, data: SampleEnd) -> None:
            stopper = _watched().get(data.eval_id)
            if stopper is not None and data.sample.error is not None:
                stopper.lost(data.sample.id, data.sample.epoch)

        async def on_task_end(self, data: TaskEnd) -> None:
            _watched().pop(data.eval_id, None)
