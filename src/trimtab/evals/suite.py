"""A suite: the items that two deployments are asked, what is expected of each, and who judges. Knows no model."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from trimtab.errors import FormatError

Kind = Literal["exact", "normalised", "json_schema", "tool_calls", "end_state", "embedding", "model_graded", "safety"]
# What these compare an answer with is the item's own `expected`.
_COMPARING = frozenset(("exact", "normalised", "tool_calls", "end_state", "embedding"))
_FENCE = "+++"
_DEEPEST = 200


class JudgeSpec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which judge, and its options; see docs/evals.md for the options of each kind."""

    kind: Kind = "exact"
    options: dict[str, Any] = {}


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question. `cluster` is what it belongs with (session, task, document): the unit of all statistics.

    `body` is a chat request without its model; `slices` are the groups it is reported in; `judge` names one of the
    suite's `judges`, empty is the suite's own.
    """

    id: str
    cluster: str
    body: dict[str, Any]
    expected: Any = None
    slices: tuple[str, ...] = ()
    judge: str = ""


class Suite(msgspec.Struct, frozen=True, omit_defaults=True):
    """Items in the order of the file. `protected` are the slices that must hold on their own; `digest` is the SHA-256
    over name, judges, protected slices and items in canonical JSON: the layout of the file is not in it."""

    name: str
    items: tuple[Item, ...]
    judge: JudgeSpec
    digest: str
    judges: dict[str, JudgeSpec] = {}
    protected: tuple[str, ...] = ()

    def judge_of(self, item: Item) -> JudgeSpec:
        return self.judges[item.judge] if item.judge else self.judge


class Order(NamedTuple):
    """In which order clusters are counted, and its SHA-256."""

    clusters: list[str]
    digest: str


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may stand between the two `+++` lines."""

    name: str = ""
    judge: JudgeSpec = JudgeSpec()
    judges: dict[str, JudgeSpec] = {}
    protected: tuple[str, ...] = ()


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the file. A cluster left out is the item's own id: every item stands alone."""

    id: str | int
    body: dict[str, Any]
    cluster: str | int = ""
    expected: Any = None
    slices: tuple[str, ...] = ()
    judge: str = ""

    def item(self) -> Item:
        name = str(self.id)
        cluster = name if self.cluster == "" else str(self.cluster)
        return Item(name, cluster, self.body, self.expected, self.slices, self.judge)


def read(path: Path) -> Suite:
    """The suite in the file at `path`: items as JSON lines, perhaps after a TOML head between two lines `+++`.

    FormatError names the line and what to do.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise FormatError(
            f"cannot read the suite {path}: {reason}; name a file of JSON lines (docs/evals.md) or arena:test:200"
        ) from error
    return parse(text, str(path), path.stem)


def parse(text: str, where: str, name: str = "") -> Suite:
    """The suite that `text` holds; `where` is how messages call it. FormatError as of `read`."""
    head, lines = _parts(text, where)
    numbered = [(number, _item(line, f"{where}:{number}")) for number, line in lines]
    numbers: dict[str, int] = {}
    for number, item in numbered:
        _check(item, head, f"{where}:{number}")
        if item.id in numbers:
            raise FormatError(
                f"{where}:{number}: the id '{item.id}' was on line {numbers[item.id]} already: give each its own"
            )
        numbers[item.id] = number
    return of([item for _, item in numbered], name=head.name or name, head=head, where=where)


def of(items: Sequence[Item], *, name: str, head: _Head | None = None, where: str = "the suite") -> Suite:
    """A suite of `items` made elsewhere. FormatError where there is none, an id is there twice or a slice is empty."""
    head = head or _Head()
    if not items:
        raise FormatError(f"{where} has no items: write one JSON object a line")
    ids = [item.id for item in items]
    if len(set(ids)) != len(ids):
        raise FormatError(f"{where} has an id twice: give each item its own")
    present = {each for item in items for each in item.slices}
    for slice_ in head.protected:
        if slice_ not in present:
            raise FormatError(f"{where}: no item is in the protected slice '{slice_}': tag some, or take it out")
    content = [name, head.judge, head.judges, head.protected, items]
    return Suite(name, tuple(items), head.judge, digest_of(content), head.judges, head.protected)


def order(suite: Suite, seed: int) -> Order:
    """A permutation of the suite's clusters: sorted by SHA-256 of seed, suite and cluster, so that it depends on
    nothing else and can be recomputed anywhere."""
    clusters = {item.cluster for item in suite.items}
    salt = f"{seed}:{suite.digest}:"
    drawn = sorted(clusters, key=lambda cluster: (hashlib.sha256((salt + cluster).encode()).digest(), cluster))
    return Order(drawn, digest_of([seed, suite.digest, drawn]))


def clusters(suite: Suite) -> dict[str, list[Item]]:
    """The items of each cluster, in the order of the file."""
    found: dict[str, list[Item]] = {}
    for item in suite.items:
        found.setdefault(item.cluster, []).append(item)
    return found


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`: keys sorted, no spaces."""
    plain = msgspec.to_builtins(value)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _parts(text: str, where: str) -> tuple[_Head, list[tuple[int, str]]]:
    """The head, and the lines that hold items with their numbers."""
    # By line feeds alone: JSON texts may hold the other signs that Python would end a line at.
    lines = text.split("\n")
    begin = next((number for number, line in enumerate(lines) if line.strip()), 0)
    head, start = _Head(), 0
    if lines[begin].strip() == _FENCE:
        rest = lines[begin + 1 :]
        end = next((number for number, line in enumerate(rest) if line.strip() == _FENCE), None)
        if end is None:
            raise FormatError(
                f"{where}:{begin + 1}: the head that '{_FENCE}' begins has no end: close it with a second"
            )
        head = _head("\n".join(line.rstrip("\r") for line in rest[:end]), f"{where}:{begin + 1}")
        start = begin + end + 2
    return head, [(number, line) for number, line in enumerate(lines[start:], start + 1) if line.strip()]


def _head(text: str, where: str) -> _Head:
    try:
        told = tomllib.loads(text)
        head = msgspec.convert(told, _Head)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError(f"{where}: the head is not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise FormatError(f"{where}: {error}; see docs/evals.md for what a head may say") from error
    if unfit := unencodable(told):
        raise FormatError(f"{where}: the head holds {unfit}: write it otherwise")
    return head


def _item(line: str, where: str) -> Item:
    try:
        item = msgspec.json.decode(line.encode(), type=_Line).item()
    except msgspec.ValidationError as error:
        raise FormatError(f"{where}: {error}; see docs/evals.md for what a line may say") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise FormatError(f"{where}: no JSON object: {error}") from error
    if unfit := unencodable([item.id, item.body, item.expected, item.slices]):
        raise FormatError(f"{where}: the item holds {unfit}: write it otherwise")
    return item


def _check(item: Item, head: _Head, where: str) -> None:
    messages = item.body.get("messages")
    if not item.id:
        raise FormatError(f"{where}: the id is empty: give the item a name")
    if not isinstance(messages, list) or not messages:
        raise FormatError(f"{where}: 'body' is no chat request: give it 'messages', a list that is not empty")
    if "model" in item.body:
        raise FormatError(f"{where}: take 'model' out of 'body': the deployment that is asked names it")
    if not all(item.slices):
        raise FormatError(f"{where}: a slice without a name: take it out")
    if item.judge and item.judge not in head.judges:
        known = ", ".join(head.judges) or "none is defined"
        raise FormatError(f"{where}: there is no judge '{item.judge}' in the head ({known}): add [judges.{item.judge}]")
    kind = (head.judges[item.judge] if item.judge else head.judge).kind
    if kind in _COMPARING and item.expected is None:
        raise FormatError(f"{where}: the judge '{kind}' compares with 'expected', which is not there: add it")


def unencodable(value: Any) -> str:
    """What of the decoded `value` JSON cannot say again ('' if nothing): dates of TOML, numbers that are none, half a
    surrogate pair."""
    for part, depth in _parts_of(value):
        if depth > _DEEPEST:
            return f"more than {_DEEPEST} levels of nesting"
        if isinstance(part, float) and (part != part or part in (float("inf"), float("-inf"))):
            return "a number that is not finite"
        if isinstance(part, str) and not _is_unicode(part):
            return "half a surrogate pair"
        if not isinstance(part, str | int | float | bool | dict | list | tuple | type(None)):
            return f"a {type(part).__name__}"
    return ""


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _parts_of(value: Any) -> Iterator[tuple[Any, int]]:
    """`value` and everything in it, keys too, each with its depth; without recursion: nesting comes from outside."""
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        if isinstance(part, dict):
            waiting += [(inner, depth + 1) for inner in (*part.keys(), *part.values())]
        elif isinstance(part, list | tuple):
            waiting += [(inner, depth + 1) for inner in part]
