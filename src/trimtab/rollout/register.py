"""The register of rollouts, `rollout.sqlite` in the store's folder, shared by serving processes and command line.

Each change is one transaction: it is made whole or not at all, and is there after a restart or a kill.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trimtab.errors import StoreBusy, StoreError
from trimtab.rollout.evidence import ALARMS, Row, Stream
from trimtab.rollout.stages import REGISTER, Rollout, Stage
from trimtab.store.wal import write_ahead
from trimtab.verdict import fingerprint

_VERSION = 1
_WAIT_S = 5.0
_TABLES = (
    "CREATE TABLE rollouts (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL)",
    # What was seen, in the order in which it counts; `note` is the call's id.
    """CREATE TABLE scores (
        number INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, stage TEXT NOT NULL, stream TEXT NOT NULL,
        value REAL NOT NULL, count INTEGER NOT NULL, note TEXT NOT NULL
    )""",
    "CREATE INDEX scores_of ON scores (rollout, stage, number)",
    # Sessions that were compared: each counts once a stage, or once in a while.
    """CREATE TABLE clusters (
        rollout TEXT, stage TEXT, digest BLOB, at_s REAL NOT NULL, PRIMARY KEY (rollout, stage, digest)
    ) WITHOUT ROWID""",
    # The detectors as they stood after a row, so that older rows can go.
    "CREATE TABLE detectors (rollout TEXT, stage TEXT, body BLOB NOT NULL, PRIMARY KEY (rollout, stage)) WITHOUT ROWID",
    # Which model each endpoint of a side said it was.
    """CREATE TABLE models (rollout TEXT, stage TEXT, side TEXT, endpoint TEXT, model TEXT,
        PRIMARY KEY (rollout, stage, side, endpoint, model)) WITHOUT ROWID""",
    "CREATE TABLE counts (rollout TEXT, name TEXT, amount INTEGER NOT NULL, PRIMARY KEY (rollout, name)) WITHOUT ROWID",
    # What happened, on its way to the ledger; `hash` is its entry's there.
    """CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, at_ns INTEGER NOT NULL, kind TEXT NOT NULL,
        body BLOB NOT NULL, hash TEXT NOT NULL DEFAULT ''
    )""",
    # What each serving process serves now.
    """CREATE TABLE processes (
        pid INTEGER PRIMARY KEY, rollout TEXT NOT NULL, revision INTEGER NOT NULL, at_ns INTEGER NOT NULL,
        note TEXT NOT NULL
    )""",
)


class Overtaken(StoreError):
    """Another process changed the rollout first."""


class Event(msgspec.Struct, frozen=True):
    """A `step` or a `verdict` of a rollout; `hash` is empty until the ledger has it."""

    number: int
    at_ns: int
    kind: str
    body: dict[str, Any]
    hash: str = ""


class Process(msgspec.Struct, frozen=True):
    """A serving process: the revision it has taken, when, and what it has to say of it."""

    pid: int
    rollout: str
    revision: int
    at_ns: int
    note: str = ""


class Register:
    """One connection to the register of `folder`, made where it is missing. StoreError where it cannot be used.

    For one thread. All that changes several things belongs into `with register.change():`.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / REGISTER
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Deployments name endpoints and keys' variables: nobody else's business.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        with self._errors():
            write_ahead(self._db, _WAIT_S)
            # Survives the death of the process; `secure` makes a step survive a power cut too.
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._make()

    def close(self) -> None:
        self._db.close()

    def _make(self) -> None:
        if self._version() == _VERSION:
            return
        with self.change():
            if self._version() == 0:
                for statement in _TABLES:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={_VERSION}")

    def _version(self) -> int:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > _VERSION:
            raise StoreError(f"{self.path} was written by a newer Trimtab: upgrade this one to use it")
        return version

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """One write transaction: all of it, or none where anything raises. StoreBusy where others hold it for long."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def secure(self) -> None:
        """Force what was committed to the disk."""
        with self._errors():
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def changes(self) -> int:
        """A number that differs from the last one if another connection has committed since; costs microseconds."""
        with self._errors():
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def latest(self) -> Rollout | None:
        """The rollout that was begun last, whatever became of it."""
        with self._errors():
            row = self._db.execute("SELECT body FROM rollouts ORDER BY number DESC LIMIT 1").fetchone()
        return msgspec.json.decode(row[0], type=Rollout) if row else None

    def begin(self, rollout: Rollout) -> None:
        """StoreError where another one is under way."""
        with self.change():
            now = self.latest()
            if now is not None and now.stage.runs:
                raise StoreError(f"rollout {now.id} is under way ({now.stage}): roll it back first")
            self._db.execute(
                "INSERT INTO rollouts (id, body) VALUES (?, ?)", (rollout.id, msgspec.json.encode(rollout))
            )
            self.note(rollout.id, "step", _step(rollout))
        self.secure()

    def move(self, rollout: Rollout, stage: Stage, reason: str, verdict: str = "") -> Rollout:
        """`rollout` in its new stage, inside a change; Overtaken where it has changed since it was read."""
        now = self.latest()
        if now is None or (now.id, now.revision) != (rollout.id, rollout.revision):
            raise Overtaken(f"rollout {rollout.id} has changed meanwhile: look at `trimtab rollout status`")
        moved = msgspec.structs.replace(
            rollout,
            stage=stage,
            revision=rollout.revision + 1,
            since_ns=time.time_ns(),
            reason=reason,
            verdict=verdict,
        )
        self._db.execute("UPDATE rollouts SET body = ? WHERE id = ?", (msgspec.json.encode(moved), rollout.id))
        self.note(rollout.id, "step", {"from": rollout.stage.value, **_step(moved)})
        return moved

    def claim(self, rollout: Rollout, digest: bytes) -> bool:
        """Whether this cluster is compared for the first time in the stage, or again after long enough."""
        now = time.time()
        done = self._db.execute(
            "INSERT INTO clusters VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET at_s = excluded.at_s WHERE excluded.at_s - at_s > ?",
            (rollout.id, rollout.stage.value, digest, now, min(rollout.stage.again_s, 1e12)),
        )
        return done.rowcount == 1

    def add(self, rollout: Rollout, row: Row, note: str = "") -> None:
        self._db.execute(
            "INSERT INTO scores (rollout, stage, stream, value, count, note) VALUES (?, ?, ?, ?, ?, ?)",
            (rollout.id, rollout.stage.value, row.stream.value, row.value, row.count, note),
        )

    def rows(self, rollout: Rollout, after: int = 0) -> list[Row]:
        """Those of the rollout's stage that came after row `after`."""
        with self._errors():
            found = self._db.execute(
                "SELECT stream, value, count, number FROM scores WHERE rollout = ? AND stage = ? AND number > ?"
                " ORDER BY number",
                (rollout.id, rollout.stage.value, after),
            ).fetchall()
        return [Row(Stream(stream), value, count, number) for stream, value, count, number in found]

    def has_rows(self, rollout: Rollout, after: int) -> bool:
        """Whether the rollout's stage has rows after row `after`."""
        with self._errors():
            found = self._db.execute(
                "SELECT 1 FROM scores WHERE rollout = ? AND stage = ? AND number > ? LIMIT 1",
                (rollout.id, rollout.stage.value, after),
            ).fetchone()
        return found is not None

    def notes(self, rollout: Rollout, stream: Stream) -> list[str]:
        """The calls behind the rows of a stream, in their order."""
        with self._errors():
            found = self._db.execute(
                "SELECT note FROM scores WHERE rollout = ? AND stage = ? AND stream = ? ORDER BY number",
                (rollout.id, rollout.stage.value, stream.value),
            ).fetchall()
        return [note for (note,) in found]

    def keep(self, rollout: Rollout, state: dict[str, Any]) -> None:
        """Keep the detectors' `state` and drop the rows that it stands for."""
        where = (rollout.id, rollout.stage.value)
        self._db.execute("INSERT OR REPLACE INTO detectors VALUES (?, ?, ?)", (*where, msgspec.json.encode(state)))
        marks = ", ".join("?" * len(ALARMS))
        self._db.execute(
            f"DELETE FROM scores WHERE rollout = ? AND stage = ? AND number <= ? AND stream IN ({marks})",
            (*where, state["number"], *(stream.value for stream in ALARMS)),
        )
        old = time.time() - min(rollout.stage.again_s, 1e12)
        self._db.execute("DELETE FROM clusters WHERE rollout = ? AND stage = ? AND at_s < ?", (*where, old))

    def kept(self, rollout: Rollout) -> dict[str, Any] | None:
        """The detectors' state that was kept last."""
        with self._errors():
            row = self._db.execute(
                "SELECT body FROM detectors WHERE rollout = ? AND stage = ?", (rollout.id, rollout.stage.value)
            ).fetchone()
        return msgspec.json.decode(row[0]) if row else None

    def count(self, rollout: Rollout, amounts: Mapping[str, int]) -> None:
        """Add to the rollout's figures."""
        self._db.executemany(
            "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
            [(rollout.id, name, amount) for name, amount in amounts.items() if amount],
        )

    def met(self, rollout: Rollout, models: Iterable[tuple[str, str, str]]) -> None:
        """Note each (side, endpoint, model) that answered, inside a change."""
        where = (rollout.id, rollout.stage.value)
        self._db.executemany(
            "INSERT OR IGNORE INTO models VALUES (?, ?, ?, ?, ?)", [(*where, *each) for each in models]
        )

    def models(self, rollout: Rollout) -> dict[str, dict[str, list[str]]]:
        """The models that answered in the rollout's stage: {side: {endpoint: models}}."""
        with self._errors():
            rows = self._db.execute(
                "SELECT side, endpoint, model FROM models WHERE rollout = ? AND stage = ?"
                " ORDER BY side, endpoint, model",
                (rollout.id, rollout.stage.value),
            ).fetchall()
        found: dict[str, dict[str, list[str]]] = {}
        for side, endpoint, model in rows:
            found.setdefault(side, {}).setdefault(endpoint, []).append(model)
        return found

    def counts(self, rollout: Rollout) -> dict[str, int]:
        with self._errors():
            found = self._db.execute("SELECT name, amount FROM counts WHERE rollout = ?", (rollout.id,)).fetchall()
        return dict(found)

    def note(self, rollout_id: str, kind: str, body: dict[str, Any]) -> None:
        """Add an event, inside a change."""
        self._db.execute(
            "INSERT INTO events (rollout, at_ns, kind, body) VALUES (?, ?, ?, ?)",
            (rollout_id, time.time_ns(), kind, msgspec.json.encode({"rollout": rollout_id, **body})),
        )

    def events(self, rollout_id: str = "", *, waiting: bool = False) -> list[Event]:
        """Of one rollout, or of all; only those that the ledger does not have yet, if `waiting`."""
        with self._errors():
            found = self._db.execute(
                "SELECT number, at_ns, kind, body, hash FROM events WHERE (? = '' OR rollout = ?)"
                " AND (NOT ? OR hash = '') ORDER BY number",
                (rollout_id, rollout_id, waiting),
            ).fetchall()
        return [
            Event(number, at_ns, kind, msgspec.json.decode(body), name) for number, at_ns, kind, body, name in found
        ]

    def entered(self, event: Event, name: str) -> None:
        """The ledger has `event` under the hash `name`."""
        self._db.execute("UPDATE events SET hash = ? WHERE number = ?", (name, event.number))

    def report(self, process: Process) -> None:
        """What a serving process serves now."""
        with self.change():
            self._db.execute(
                "INSERT OR REPLACE INTO processes VALUES (?, ?, ?, ?, ?)",
                (process.pid, process.rollout, process.revision, process.at_ns, process.note),
            )

    def leave(self, pid: int) -> None:
        """The process `pid` serves no more."""
        with self.change():
            self._db.execute("DELETE FROM processes WHERE pid = ?", (pid,))

    def processes(self) -> list[Process]:
        """Those that run; who died without a word is forgotten."""
        with self._errors():
            found = self._db.execute(
                "SELECT pid, rollout, revision, at_ns, note FROM processes ORDER BY pid"
            ).fetchall()
        return [Process(*row) for row in found if _is_alive(row[0])]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        except msgspec.MsgspecError as error:
            raise StoreError(f"{self.path} holds what this Trimtab cannot read: {error}") from error

    def _unusable(self, error: Exception) -> StoreError:
        code = getattr(error, "sqlite_errorcode", 0) or 0
        if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreBusy(f"another process holds {self.path}: try again")
        return StoreError(f"cannot use {self.path}: {error}; check the folder's permissions and disk")


def _step(rollout: Rollout) -> dict[str, Any]:
    """What the ledger keeps of a step: where to, why, on which verdict, and of which two Deployments."""
    return {
        "stage": rollout.stage.value,
        "reason": rollout.reason,
        "verdict": rollout.verdict,
        "baseline": fingerprint(rollout.baseline),
        "candidate": fingerprint(rollout.candidate),
        "names": {"baseline": rollout.baseline.name, "candidate": rollout.candidate.name},
    }


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
