"""Journal: the folder of one run: what was declared before it, and every answer as it came, so that it can go on."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec

from trimtab.errors import ConfigError, FormatError, StoreBusy, StoreError
from trimtab.evals.replay import Outcome
from trimtab.store import schema
from trimtab.verdict import Verdict

PLAN, ANSWERS, VERDICT = "plan.json", "answers.jsonl", "verdict.json"


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What is fixed before the first answer; a run goes on only under the same."""

    baseline: str
    candidate: str
    suite: str
    order: str
    criteria: str
    judge: str
    seed: int
    asked: str
    models: dict[str, str] = {}


_WORDS = {
    "baseline": "the baseline",
    "candidate": "the candidate",
    "suite": "the suite",
    "order": "the order",
    "criteria": "the criteria",
    "judge": "the judge",
    "seed": "the seed",
    "asked": "the model that is asked for",
    "models": "a model behind the baseline or the candidate",
}


class Answered(msgspec.Struct, frozen=True):
    """One cluster asked of both sides; `place` is its place in the fixed order. `again` is what the baseline answered
    when it was asked a second time."""

    place: int
    cluster: str
    baseline: tuple[Outcome, ...]
    candidate: tuple[Outcome, ...]
    again: tuple[Outcome, ...] = ()


class Journal:
    """`with Journal(folder, declared) as journal:` holds the folder for one process. `answered` is what was there."""

    def __init__(self, folder: Path, declared: Declared) -> None:
        self.folder, self.declared = folder, declared
        self.answered: dict[int, Answered] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Not through a text layer: a line is on the disk as one write or is cut off when the run goes on.
            self._file = os.fdopen(os.open(self.folder / ANSWERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._declare()
            self._read(self._file)
        except BlockingIOError as error:
            self._close()
            raise StoreBusy(f"another run works in {self.folder}: wait for it, or choose another --folder") from error
        except OSError as error:
            self._close()
            raise schema.refusal(error, self.folder) from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _declare(self) -> None:
        path = self.folder / PLAN
        if not path.exists():
            _put(path, self.declared)
            return
        before = _decoded(path, Declared)
        for name, words in _WORDS.items():
            unasked = name == "models" and not self.declared.models
            if getattr(before, name) != getattr(self.declared, name) and not unasked:
                raise ConfigError(
                    f"{words} changed since the run in {self.folder} began: begin anew with another --folder"
                )

    def _read(self, file: IO[bytes]) -> None:
        whole = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break  # cut short by the end of the process that wrote it
            try:
                each = msgspec.json.decode(line, type=Answered)
            except msgspec.MsgspecError as error:
                raise FormatError(
                    f"{self.folder / ANSWERS}:{number}: no answer of a run: {error}; begin anew in another --folder"
                ) from error
            self.answered[each.place] = each
            whole += len(line)
        file.seek(whole)
        file.truncate()

    def add(self, answered: Answered) -> None:
        """Keep it; on the disk when this returns. StoreError, DiskFull."""
        if self._file is None:
            raise StoreError(f"the journal of {self.folder} is closed: use it inside its `with` block")
        try:
            self._file.write(msgspec.json.encode(answered) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise schema.refusal(error, self.folder) from error
        self.answered[answered.place] = answered

    def finish(self, verdict: Verdict) -> None:
        """Keep the verdict of the run."""
        try:
            _put(self.folder / VERDICT, verdict)
        except OSError as error:
            raise schema.refusal(error, self.folder) from error


def verdict_in(folder: Path) -> Verdict | None:
    """The verdict of the run in `folder`; None where there is none yet. FormatError where it cannot be read."""
    path = folder / VERDICT
    found: Verdict | None = _decoded(path, Verdict) if path.exists() else None
    return found


def _put(path: Path, value: Any) -> None:
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(value, order="sorted")))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _decoded(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise FormatError(f"{path} cannot be read: {error}; begin the run anew in another --folder") from error
