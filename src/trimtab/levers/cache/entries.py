"""Entries: questions, their vectors and verified answers as rows that every process sees.

The index only proposes ids; whether a row may be served is read from the rows each time, so a deletion, an expiry or
a quarantine counts at once, in every process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from trimtab.levers.cache.nearest import Nearest
from trimtab.levers.cache.tables import Tables

if TYPE_CHECKING:
    import sqlite3

    import numpy as np


class Answer(msgspec.Struct, frozen=True):
    """What a hit serves, and what it once took. Times are Unix ns; `expires_ns` 0: never.

    `version` is whatever may be invalidated as one: of the documents, the prompt, the policy; `sources` the documents
    the answer was drawn from; `trust` the level of whoever asked first.
    """

    body: bytes
    dialect: str = ""
    usage: dict[str, int] = {}
    cost_nanodollars: int | None = None
    latency_ms: float = 0.0
    caller: str = ""
    trust: str = ""
    version: str = ""
    created_ns: int = 0
    expires_ns: int = 0
    sources: tuple[str, ...] = ()


class Entry(NamedTuple):
    """One question that `group`'s answer was given or verified for; `alias`: verified, not the first."""

    id: int
    partition: str
    question: str
    group: int
    alias: bool
    caller: str
    created_ns: int
    quarantined: bool


class Candidate(NamedTuple):
    """A live entry near the question asked. `tried` labels its group had, `same` of them right."""

    entry: int
    group: int
    question: str
    cosine: float
    tried: int
    same: int


_ENTRY = (
    "SELECT e.id, p.name, e.question, e.answer, e.alias, e.caller, e.created_ns, a.quarantined"
    " FROM entries e JOIN answers a ON a.id = e.answer JOIN partitions p ON p.id = e.partition"
)
_LIVE = "a.quarantined = 0 AND (a.expires_ns = 0 OR a.expires_ns > ?)"
_ANSWER = msgspec.structs.fields(Answer)
_COLUMNS = tuple(field.name for field in _ANSWER if field.name != "sources")


class Entries:
    """The rows below `folder`, which is made where it is missing. Methods may be called from any thread.

    `encoder` is the version of the encoder whose vectors are compared; without one there are only exact keys.
    Errors: StoreError, StoreBusy; whoever looks up takes them for a miss.
    """

    def __init__(self, folder: Path, encoder: str = "", dims: int = 0, clock: Callable[[], int] = time.time_ns) -> None:
        self.folder = folder
        self._tables = Tables(folder)
        self._clock = clock
        self._encoder = encoder
        self._partitions: dict[str, int] = {}
        self._nearest = Nearest(self._tables, folder, encoder, dims) if encoder else None

    def add(self, partition: str, key: str, question: str, vector: np.ndarray | None, answer: Answer) -> Entry:
        """A new answer with its first question, in place of what `key` had; without `vector` found by key only."""
        created = answer.created_ns or self._clock()
        with self._tables.change() as run:
            place = self._partition(run, partition)
            row = msgspec.structs.asdict(msgspec.structs.replace(answer, created_ns=created))
            row["usage"] = msgspec.json.encode(answer.usage).decode()
            group = _insert(run, "answers", {"partition": place, **{name: row[name] for name in _COLUMNS}})
            run.executemany("INSERT OR IGNORE INTO sources VALUES (?, ?)", [(each, group) for each in answer.sources])
            entry = self._entry(run, (place, key, question, group, 0, answer.caller, created), vector, partition)
        self._catch_up()
        return entry

    def alias(self, group: int, key: str, question: str, vector: np.ndarray | None, caller: str = "") -> Entry | None:
        """One more question for the answer of `group`, after it was verified; None where the group is gone."""
        with self._tables.change() as run:
            held = run.execute(
                "SELECT a.partition, p.name FROM answers a JOIN partitions p ON p.id = a.partition WHERE a.id = ?",
                (group,),
            ).fetchone()
            if held is None:
                return None
            entry = self._entry(run, (held[0], key, question, group, 1, caller, self._clock()), vector, held[1])
        self._catch_up()
        return entry

    def replace(self, group: int, answer: Answer) -> None:
        """A fresher answer for all the questions of `group`, out of quarantine; its labels stay."""
        row = msgspec.structs.asdict(msgspec.structs.replace(answer, created_ns=answer.created_ns or self._clock()))
        row["usage"] = msgspec.json.encode(answer.usage).decode()
        setting = ", ".join(f"{name} = ?" for name in _COLUMNS)
        with self._tables.change() as run:
            values = [*(row[name] for name in _COLUMNS), group]
            if run.execute(f"UPDATE answers SET {setting}, quarantined = 0 WHERE id = ?", values).rowcount:
                run.execute("DELETE FROM sources WHERE answer = ?", (group,))
                run.executemany("INSERT OR IGNORE INTO sources VALUES (?, ?)", [(one, group) for one in answer.sources])

    def find_exact(self, partition: str, key: str) -> Entry | None:
        """The live entry of `key`."""
        with self._tables.read() as run:
            row = run.execute(
                f"{_ENTRY} WHERE p.name = ? AND e.key = ? AND {_LIVE}", (partition, key, self._clock())
            ).fetchone()
        return _entry_of(row) if row else None

    def candidates(self, partition: str, vector: np.ndarray, k: int = 20) -> list[Candidate]:
        """The `k` live entries of `partition` nearest to `vector`, best first; none without an encoder."""
        if self._nearest is None:
            return []
        self._nearest.refresh()
        with self._tables.read() as run:
            place = self._place(run, partition)
        wanted = k
        while place is not None:
            found = self._nearest.search(place, vector, wanted)
            live = self._live([one for one, _ in found])
            # Both conditions: an entry of another partition can only come of a damaged index, and is never served.
            kept = [pair for pair in found if pair[0] in live and live[pair[0]][4] == place]
            if len(kept) >= k or len(found) < wanted:
                return [Candidate(one, *live[one][:2], cosine, *live[one][2:4]) for one, cosine in kept[:k]]
            self._nearest.drop(place, self._absent([one for one, _ in found if one not in live]))
            wanted *= 4
        return []

    def vectors(self, entries: Sequence[int]) -> dict[int, np.ndarray]:
        """[dims] float32 by entry, of those that are there."""
        import numpy as np

        marks = ",".join("?" * len(entries))
        with self._tables.read() as run:
            rows = run.execute(
                f"SELECT entry, vector FROM vectors WHERE encoder = ? AND entry IN ({marks})", (self._encoder, *entries)
            ).fetchall()
        return {entry: np.frombuffer(vector, "<f2").astype(np.float32) for entry, vector in rows}

    def answer(self, group: int) -> Answer | None:
        """What `group` serves, if it is live."""
        with self._tables.read() as run:
            row = run.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM answers a WHERE id = ? AND {_LIVE}", (group, self._clock())
            ).fetchone()
            if row is None:
                return None
            documents = run.execute(
                "SELECT document FROM sources WHERE answer = ? ORDER BY document", (group,)
            ).fetchall()
        held = dict(zip(_COLUMNS, row, strict=True))
        held["usage"] = msgspec.json.decode(held["usage"])
        return Answer(**held, sources=tuple(one for (one,) in documents))

    def label(self, entry: int, asked: str, same: bool, how: str) -> None:
        """A fresh answer to `asked` was, or was not, the same as that of `entry`'s group; `how` it was compared."""
        with self._tables.change() as run:
            held = run.execute("SELECT answer FROM entries WHERE id = ?", (entry,)).fetchone()
            if held is None:
                return
            values = (entry, held[0], asked, int(same), how, self._clock())
            run.execute(
                "INSERT INTO labels (entry, answer, asked, same, how, given_ns) VALUES (?, ?, ?, ?, ?, ?)", values
            )
            run.execute("UPDATE answers SET tried = tried + 1, same = same + ? WHERE id = ?", (int(same), held[0]))

    def labels(self, asked: str, given: Sequence[tuple[int, bool]], how: str) -> None:
        """`label` for several (entry, same) in one transaction: each waits for the disk."""
        if given:
            with self._tables.change():
                for entry, same in given:
                    self.label(entry, asked, same, how)

    def quarantine(self, group: int, on: bool = True) -> None:
        """The group is not served, in any process, until it is let go or gets a fresh answer."""
        with self._tables.change() as run:
            run.execute("UPDATE answers SET quarantined = ? WHERE id = ?", (int(on), group))

    def delete(self, entry: int) -> int:
        """One question; its answer too if it was the last. The number of entries that went, as of all below."""
        with self._tables.read() as run:
            row = run.execute("SELECT answer FROM entries WHERE id = ?", (entry,)).fetchone()
        return self._delete("id = ?", (entry,)) if row else 0

    def delete_answer(self, group: int) -> int:
        """An answer and all questions it was verified for."""
        return self._delete("answer = ?", (group,))

    def delete_source(self, document: str) -> int:
        """Every answer drawn from `document`."""
        return self._delete("answer IN (SELECT answer FROM sources WHERE document = ?)", (document,))

    def delete_partition(self, partition: str) -> int:
        return self._delete("partition IN (SELECT id FROM partitions WHERE name = ?)", (partition,))

    def invalidate(self, version: str) -> int:
        """Every answer made under `version`."""
        return self._delete("answer IN (SELECT id FROM answers WHERE version = ?)", (version,))

    def expire(self) -> int:
        """Every answer past its time; they are not served before either."""
        late = "answer IN (SELECT id FROM answers WHERE expires_ns > 0 AND expires_ns <= ?)"
        return self._delete(late, (self._clock(),))

    def page(self, after: int = 0, most: int = 100) -> list[Entry]:
        """Entries in the order they came, live or not."""
        with self._tables.read() as run:
            rows = run.execute(f"{_ENTRY} WHERE e.id > ? ORDER BY e.id LIMIT ?", (after, most)).fetchall()
        return [_entry_of(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Rows by kind, for people: entries, aliases, answers, quarantined, partitions, labels."""
        queries = {
            "entries": "SELECT count(*) FROM entries",
            "aliases": "SELECT count(*) FROM entries WHERE alias",
            "answers": "SELECT count(*) FROM answers",
            "quarantined": "SELECT count(*) FROM answers WHERE quarantined",
            "partitions": "SELECT count(DISTINCT partition) FROM entries",
            "labels": "SELECT count(*) FROM labels",
        }
        with self._tables.read() as run:
            return {name: int(run.execute(query).fetchone()[0]) for name, query in queries.items()}

    def save_index(self) -> None:
        """Write the large indexes down, so that the next start need not build them."""
        if self._nearest is not None:
            self._nearest.save()

    def close(self) -> None:
        self._tables.close()

    def _catch_up(self) -> None:
        """What this process adds it finds at once."""
        if self._nearest is not None:
            self._nearest.refresh(now=True)

    def _partition(self, run: sqlite3.Connection, name: str) -> int:
        if (place := self._place(run, name)) is not None:
            return place
        # Not remembered yet: the transaction may be undone.
        return int(run.execute("INSERT INTO partitions (name) VALUES (?) RETURNING id", (name,)).fetchone()[0])

    def _place(self, run: sqlite3.Connection, name: str) -> int | None:
        if name not in self._partitions:
            row = run.execute("SELECT id FROM partitions WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            if not run.in_transaction:
                self._partitions[name] = int(row[0])
            return int(row[0])
        return self._partitions[name]

    def _entry(
        self, run: sqlite3.Connection, values: Sequence[Any], vector: np.ndarray | None, partition: str
    ) -> Entry:
        place, key, question, group, alias, caller, created = values
        old = run.execute("SELECT id FROM entries WHERE partition = ? AND key = ?", (place, key)).fetchone()
        if old is not None:
            _remove(run, "id = ?", old)
        named = ("partition", "key", "question", "answer", "alias", "caller", "created_ns")
        entry = _insert(run, "entries", dict(zip(named, values, strict=True)))
        if vector is not None and self._nearest is not None:
            packed = self._nearest.pack(vector)
            _insert(run, "vectors", {"entry": entry, "partition": place, "encoder": self._encoder, "vector": packed})
        return Entry(entry, partition, question, group, bool(alias), caller, created, False)

    def _live(self, ids: Sequence[int]) -> dict[int, tuple[int, str, int, int, int]]:
        """group, question, tried, same and partition of those that may be served."""
        marks = ",".join("?" * len(ids))
        with self._tables.read() as run:
            rows = run.execute(
                "SELECT e.id, e.answer, e.question, a.tried, a.same, e.partition FROM entries e"
                f" JOIN answers a INDEXED BY answers_live ON a.id = e.answer WHERE e.id IN ({marks}) AND {_LIVE}",
                (*ids, self._clock()),
            ).fetchall()
        return {row[0]: row[1:] for row in rows}

    def _absent(self, ids: Sequence[int]) -> list[int]:
        marks = ",".join("?" * len(ids))
        with self._tables.read() as run:
            there = {one for (one,) in run.execute(f"SELECT id FROM entries WHERE id IN ({marks})", tuple(ids))}
        return [one for one in ids if one not in there]

    def _delete(self, where: str, values: tuple[Any, ...]) -> int:
        with self._tables.change() as run:
            count = _remove(run, where, values)
        if count:
            self._tables.empty_log()
        return count


def _insert(run: sqlite3.Connection, table: str, row: dict[str, Any]) -> int:
    marks = ", ".join("?" * len(row))
    found = run.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())).lastrowid
    return int(found or 0)


def _remove(run: sqlite3.Connection, where: str, values: Iterable[Any]) -> int:
    """Entries `where`, and all that is left of their answers where no question remains."""
    gone = run.execute(f"DELETE FROM entries WHERE {where} RETURNING id, answer", tuple(values)).fetchall()
    run.executemany("DELETE FROM vectors WHERE entry = ?", [(entry,) for entry, _ in gone])
    run.executemany("DELETE FROM labels WHERE entry = ?", [(entry,) for entry, _ in gone])
    groups = [(group, group) for group in {group for _, group in gone}]
    unasked = "NOT EXISTS (SELECT 1 FROM entries WHERE answer = ?)"
    run.executemany(f"DELETE FROM sources WHERE answer = ? AND {unasked}", groups)
    run.executemany(f"DELETE FROM answers WHERE id = ? AND {unasked}", groups)
    return len(gone)


def _entry_of(row: Sequence[Any]) -> Entry:
    entry, partition, question, group, alias, caller, created, quarantined = row
    return Entry(entry, partition, question, group, bool(alias), caller, created, bool(quarantined))
