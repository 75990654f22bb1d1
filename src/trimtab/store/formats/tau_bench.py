"""tau-bench trajectories as traces: one trace a (task, trial), one call an assistant message. Knows no files.

A trajectory is {"task_id", "trial", "reward", "traj": [messages]}. It holds neither times nor tokens nor the tools'
schemas, so times are made up (they keep the order) and tokens are estimated from the text's length.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.money import PriceTable
from trimtab.store.openai_jsonl import check, check_scores, usage_of
from trimtab.trace import Call, EndState, Payload, Record, Score

# The benchmark's policy says "the current time is 2024-05-15 15:00:00 EST"; tasks begin four minutes apart.
_START_NS = 1_715_803_200 * 10**9
_TASK_NS, _TRIAL_NS, _CALL_NS = 240 * 10**9, 60 * 10**9, 10**9
_DOMAINS = ("airline", "retail")


class Trajectory(msgspec.Struct, frozen=True):
    """One attempt at one task, as the benchmark writes it; other fields are left alone."""

    task_id: int
    traj: list[dict[str, Any]]
    reward: float
    trial: int = 0


_DECODER = msgspec.json.Decoder(Trajectory)


def records_of(text: bytes, stem: str, prices: PriceTable) -> tuple[list[Record], tuple[Score, ...]]:
    """The calls of one trajectory and its reward as a score.

    `stem` is the file's name without its end: 'gpt-4o-airline' says model gpt-4o and domain airline. Ids come from
    the trajectory's content, so a second import, also of a renamed file, adds nothing.
    """
    try:
        trajectory = _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(f"not a trajectory: {error}") from error
    except RecursionError as error:
        raise FormatError("nested too deeply") from error
    scores = (Score("reward", trajectory.reward, "tau-bench"),)
    check_scores(scores)
    if not (0 <= trajectory.task_id < 10**6 and 0 <= trajectory.trial < 10**6):
        raise FormatError("task_id or trial is out of range")
    seed = (trajectory.task_id, trajectory.trial, trajectory.traj)
    trace_id = hashlib.sha256(msgspec.json.encode(seed)).hexdigest()[:32]
    spoken = [index for index, message in enumerate(trajectory.traj) if message.get("role") == "assistant"]
    if not spoken:
        raise FormatError("the trajectory has no assistant message")
    records = [_record(trajectory, trace_id, index, (number, stem), prices) for number, index in enumerate(spoken)]
    return records, scores


def _record(trajectory: Trajectory, trace_id: str, index: int, place: tuple[int, str], prices: PriceTable) -> Record:
    """The call whose answer is message `index`, and whose request is every message before it."""
    number, stem = place
    model, domain = _names(stem)
    message = trajectory.traj[index]
    reason = "tool_calls" if message.get("tool_calls") else "stop"
    request = {"model": model, "messages": trajectory.traj[:index]}
    response = {
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
    }
    usage, _ = usage_of(request, response)
    cost = prices.cost(model, usage)
    started = _START_NS + trajectory.task_id * _TASK_NS + trajectory.trial * _TRIAL_NS + number * _CALL_NS
    call = Call(
        id=f"{trace_id[:24]}-{number:04d}",
        trace_id=trace_id,
        span_id=hashlib.sha256(f"{trace_id}/{number}".encode()).hexdigest()[:16],
        started_ns=started,
        duration_ms=0.0,
        end=EndState.COMPLETE,
        workflow=f"tau-bench-{domain}" if domain else "tau-bench",
        agent=domain or "agent",
        session=trace_id,
        # The trials of one task are one cluster for every statistic.
        tags={
            "source": "tau-bench",
            "task": str(trajectory.task_id),
            "trial": str(trajectory.trial),
            "times": "made up",
        },
        request_model=model,
        response_model=model,
        finish_reason=reason,
        usage=usage,
        cost_nanodollars=cost.nanodollars if cost else None,
        price_table=cost.table if cost else "",
    )
    check(call)
    return Record(call, Payload(call.id, request, response))


def _names(stem: str) -> tuple[str, str]:
    model, _, domain = stem.rpartition("-")
    return (model, domain) if domain in _DOMAINS else ("", "")
