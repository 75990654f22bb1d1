"""tau-bench trajectories as traces: one trace a (task, trial), one call an assistant message. Knows no files.

A trajectory is {"task_id", "trial", "reward", "traj": [messages]}. It holds neither times nor tokens nor the tools'
schemas, so times are made up (they keep the order) and tokens are estimated from the text's length.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from trimtab.errors import FormatError
from trimtab.store.formats.drafting import Draft, check_scores, taken
from trimtab.store.formats.reading import Format, Reader, Reading, Taken
from trimtab.trace import EndState, Score, members

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


def _reader(reading: Reading) -> Reader:
    """Takes one trajectory; the reading's stem is the file's name: 'gpt-4o-airline' says model gpt-4o and domain
    airline. Ids come from the trajectory's content, so a second import, also of a renamed file, adds nothing."""
    return lambda text, number: _calls(_DECODER.decode(text), reading)


def _calls(trajectory: Trajectory, reading: Reading) -> list[Taken]:
    scores = (Score("reward", trajectory.reward, "tau-bench"),)
    check_scores(scores)
    if not (0 <= trajectory.task_id < 10**6 and 0 <= trajectory.trial < 10**6):
        raise FormatError("task_id or trial is out of range")
    seed = (trajectory.task_id, trajectory.trial, trajectory.traj)
    trace_id = hashlib.sha256(msgspec.json.encode(seed)).hexdigest()[:32]
    spoken = [index for index, message in enumerate(trajectory.traj) if message.get("role") == "assistant"]
    if not spoken:
        raise FormatError("the trajectory has no assistant message")
    calls = [_draft(trajectory, trace_id, index, number, reading.stem) for number, index in enumerate(spoken)]
    calls[0].scores = scores
    return [taken(draft, reading) for draft in calls]


def _draft(trajectory: Trajectory, trace_id: str, index: int, number: int, stem: str) -> Draft:
    """The call whose answer is message `index`, and whose request is every message before it."""
    model, domain = _names(stem)
    message = trajectory.traj[index]
    reason = "tool_calls" if message.get("tool_calls") else "stop"
    answer = {"index": 0, "message": message, "finish_reason": reason}
    request = {"model": model, "messages": trajectory.traj[:index]}
    response = {"object": "chat.completion", "model": model, "choices": [answer]}
    return Draft(
        source="tau-bench",
        text=b"",
        id=f"{trace_id[:24]}-{number:04d}",
        trace_id=trace_id,
        span_id=hashlib.sha256(f"{trace_id}/{number}".encode()).hexdigest()[:16],
        started_ns=_START_NS + trajectory.task_id * _TASK_NS + trajectory.trial * _TRIAL_NS + number * _CALL_NS,
        end=EndState.COMPLETE,
        workflow=f"tau-bench-{domain}" if domain else "tau-bench",
        agent=domain or "agent",
        session=trace_id,
        # The trials of one task are one cluster for every statistic.
        tags={"task": str(trajectory.task_id), "trial": str(trajectory.trial), "times": "made up"},
        request_model=model,
        response_model=model,
        finish_reason=reason,
        request=members(msgspec.json.encode(request)),
        response=members(msgspec.json.encode(response)),
    )


def _names(stem: str) -> tuple[str, str]:
    model, _, domain = stem.rpartition("-")
    return (model, domain) if domain in _DOMAINS else ("", "")


FORMAT = Format("tau-bench", lambda names: "traj" in names, _reader)
