"""What success costs: the price of a solved task, and what unsolved ones took beside it. Tasks of the sample."""

from __future__ import annotations

from typing import NamedTuple

from trimtab.plan.evidence import Clusters, Evidence, mean_figure, share_figure, tasks
from trimtab.plan.findings import Figure, Outcome
from trimtab.plan.timeline import Exchange


class _Task(NamedTuple):
    cluster: int
    solved: bool
    cost: float
    priced: bool
    tokens: int
    calls: int
    messages: int
    last: str


def found(evidence: Evidence) -> tuple[Outcome, ...]:
    """One a workflow that has scored tasks."""
    rows = []
    for workflow, sessions in evidence.workflows().items():
        its = [
            _task(key, evidence.solved[task], exchanges)
            for task, key, exchanges in tasks(sessions, evidence.seed)
            if task in evidence.solved
        ]
        if its:
            rows.append(_outcome(workflow, its))
    return tuple(rows)


def cluster_of(key: int, exchanges: list[Exchange]) -> int:
    """Trials of one task (calls tagged `task`) are one cluster; else a session is."""
    tag = exchanges[0].call.tags.get("task")
    return key if tag is None else hash((exchanges[0].call.workflow, tag))


def _task(key: int, solved: bool, exchanges: list[Exchange]) -> _Task:
    calls = [one.call for one in exchanges]
    costs = [call.cost_nanodollars for call in calls if call.cost_nanodollars is not None]
    seen = [sum(piece.role != "definition" for piece in one.pieces) + 1 for one in exchanges if one.bodies]
    return _Task(
        cluster=cluster_of(key, exchanges),
        solved=solved,
        cost=float(sum(costs)),
        priced=len(costs) == len(calls),
        tokens=sum(call.usage.input_tokens + call.usage.output_tokens for call in calls),
        calls=len(calls),
        messages=max(seen, default=0),
        last=calls[-1].id,
    )


def _outcome(workflow: str, its: list[_Task]) -> Outcome:
    success = Clusters()
    priced = all(task.priced for task in its)
    for task in its:
        success.add(task.cluster, float(task.solved))
    unsolved = sorted((task for task in its if not task.solved), key=lambda task: -task.cost)
    look = [task.last for task in unsolved]
    ratio = _ratio(its, priced)
    return Outcome(
        workflow=workflow,
        success=share_figure(success, len(its), "tasks", look=look),
        per_solved=_per_solved(its, [task.cost if priced else 0.0 for task in its]) if priced else Figure(),
        solved_cost=_mean(its, True, [task.cost for task in its]) if priced else Figure(),
        unsolved_cost=_mean(its, False, [task.cost for task in its]) if priced else Figure(),
        ratio=ratio,
        solved_calls=_mean(its, True, [task.calls for task in its]),
        unsolved_calls=_mean(its, False, [task.calls for task in its]),
        solved_messages=_mean(its, True, [task.messages for task in its]),
        unsolved_messages=_mean(its, False, [task.messages for task in its]),
        tokens_per_solved=_per_solved(its, [float(task.tokens) for task in its]),
    )


_METHOD = "scored tasks of the sample; the trials of one task are one cluster"


def _mean(its: list[_Task], solved: bool, values: list[float] | list[int]) -> Figure:
    clusters = Clusters()
    chosen = [(task, value) for task, value in zip(its, values, strict=True) if task.solved is solved]
    for task, value in chosen:
        clusters.add(task.cluster, value)
    return mean_figure(clusters, len(chosen), "tasks", _METHOD, [task.last for task, _ in chosen])


def _per_solved(its: list[_Task], values: list[float]) -> Figure:
    clusters = Clusters()
    for task, value in zip(its, values, strict=True):
        clusters.add(task.cluster, value, float(task.solved))
    return mean_figure(clusters, len(its), "tasks", _METHOD)


def _ratio(its: list[_Task], priced: bool) -> Figure:
    """Mean of the unsolved over mean of the solved, leaving out one cluster at a time for the interval."""
    method = "mean of unsolved tasks / mean of solved ones; jackknife over clusters, 95 %"
    sums: dict[int, list[float]] = {}
    for task in its:
        row = sums.setdefault(task.cluster, [0.0, 0.0, 0.0, 0.0])
        row[0 if task.solved else 2] += task.cost if priced else task.tokens
        row[1 if task.solved else 3] += 1
    total = [sum(row[place] for row in sums.values()) for place in range(4)]
    value = _over(total)
    left = [_over([all_ - own for all_, own in zip(total, row, strict=True)]) for row in sums.values()]
    values = [each for each in left if each is not None]
    if value is None or len(values) < 2:
        return Figure(value=value, n=len(its), unit_of_n="tasks", method=method)
    centre = sum(values) / len(values)
    error = ((len(values) - 1) / len(values) * sum((each - centre) ** 2 for each in values)) ** 0.5
    return Figure(
        value=value, low=value - 2 * error, high=value + 2 * error, n=len(its), unit_of_n="tasks", method=method
    )


def _over(sums: list[float]) -> float | None:
    solved, n_solved, unsolved, n_unsolved = sums
    return (unsolved / n_unsolved) / (solved / n_solved) if n_solved and n_unsolved and solved else None
