"""`trimtab cache`: what is held, and how it is taken out. Works beside a gateway that serves."""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path

from trimtab.errors import ConfigError
from trimtab.levers.cache.entries import Entries

SUMMARY = "list and delete what the cache holds"


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab cache list|delete|invalidate|stats`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = _verb(verbs, "list", list_, "questions and their answers' numbers, oldest first")
    listing.add_argument("--after", type=int, default=0, metavar="ENTRY", help="only entries after this one")
    listing.add_argument("--limit", type=int, default=50, help="how many at most (default 50)")
    deleting = _verb(verbs, "delete", delete, "take something out, in every process within a second")
    what = deleting.add_mutually_exclusive_group(required=True)
    what.add_argument("--entry", type=int, help="one question, by its number")
    what.add_argument("--answer", type=int, help="an answer and all questions that it is given for")
    what.add_argument("--source", metavar="DOCUMENT", help="every answer drawn from a document (the tag 'sources')")
    what.add_argument("--partition", metavar="DIGEST", help="everything in a partition")
    what.add_argument("--expired", action="store_true", help="every answer past its time")
    invalidating = _verb(verbs, "invalidate", invalidate, "take out every answer made under a version of the documents")
    invalidating.add_argument("version", help="the requests' tag 'corpus', or the step's option corpus or version")
    _verb(verbs, "stats", stats, "how many entries, answers, aliases and labels there are")


def _verb(verbs: argparse._SubParsersAction, name: str, run: object, text: str) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    command: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    command.add_argument("--store", type=Path, metavar="DIR", help="the store's folder (default: the config's)")
    command.add_argument("--config", type=Path, metavar="FILE", help="default: trimtab.toml, where there is one")
    command.add_argument("--folder", help="the step's option of that name (default: the config's, else cache)")
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    command.set_defaults(run=run)
    return command


def _entries(args: argparse.Namespace) -> Entries:
    """The rows; ConfigError where there are none."""
    path = args.config or Path("trimtab.toml")
    held = tomllib.loads(path.read_text(encoding="utf-8")) if args.config or path.exists() else {}
    steps = [step for step in held.get("steps", []) if step.get("lever") == "cache"]
    named = steps[0].get("options", {}).get("folder", "cache") if steps else "cache"
    store = args.store or Path(held.get("store", {}).get("folder", ".trimtab"))
    folder = store / (args.folder or named)
    if not folder.is_dir():
        raise ConfigError(f"there is no cache at {folder}: name the store with --store, and the step's folder")
    return Entries(folder)


def list_(args: argparse.Namespace) -> int:
    found = _entries(args).page(args.after, args.limit)
    if args.json:
        print(json.dumps([each._asdict() for each in found]))
        return 0
    for each in found:
        state = "quarantined" if each.quarantined else "alias" if each.alias else ""
        print(f"{each.id:>8}  answer {each.group:<8}  {each.partition[:8]}  {state:<11}  {each.question[:80]!r}")
    if not found:
        print("no entries")
    return 0


def delete(args: argparse.Namespace) -> int:
    rows = _entries(args)
    if args.entry is not None:
        gone = rows.delete(args.entry)
    elif args.answer is not None:
        gone = rows.delete_answer(args.answer)
    elif args.source is not None:
        gone = rows.delete_source(args.source)
    elif args.partition is not None:
        gone = rows.delete_partition(args.partition)
    else:
        gone = rows.expire()
    return _say(args, gone)


def invalidate(args: argparse.Namespace) -> int:
    return _say(args, _entries(args).invalidate(args.version))


def _say(args: argparse.Namespace, gone: int) -> int:
    print(json.dumps({"deleted": gone}) if args.json else f"{gone:,} entries deleted")
    return 0


def stats(args: argparse.Namespace) -> int:
    counts = _entries(args).counts()
    print(json.dumps(counts) if args.json else "\n".join(f"{name:<12} {count:,}" for name, count in counts.items()))
    return 0
