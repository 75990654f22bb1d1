"""The verbs of `trimtab traces` that take away from the store: erase, prune."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from trimtab.cli import storewords
from trimtab.errors import ConfigError


def add(verbs: Any) -> None:
    erasing = storewords.verb(verbs, "erase", erase, "take every byte of a user, a session or a trace out of the store")
    for name in ("user", "session", "trace"):
        erasing.add_argument(f"--{name}", help=f"traces with a call of this {name}; what is given must all hold")
    erasing.add_argument("--yes", action="store_true", help="do not ask")
    pruning = storewords.verb(verbs, "prune", prune, "delete day files older than the retention")
    pruning.add_argument("--keep-days", type=int, metavar="N", help="days to keep (default: store.keep_days)")
    pruning.add_argument("--dry-run", action="store_true", help="say what would go, and delete nothing")
    for command in (erasing, pruning):
        command.add_argument("--json", action="store_true", help="print JSON instead of text")


def erase(args: argparse.Namespace) -> int:
    from trimtab.store import erase as erasing
    from trimtab.store import errand

    settings, folder = storewords.settings(args), storewords.there(args)
    named = frozenset(step.artifact for step in settings.steps)
    wanted = erasing.Erasure(user=args.user, session=args.session, trace=args.trace, named=named)
    wanted.where()
    if not args.yes:
        found = erasing.preview(folder, wanted)
        if not _agreed(f"erase {found.calls:,} calls of {found.traces:,} traces from {folder}?"):
            print("nothing was erased")
            return 1
    report = errand.erased(folder, wanted)
    if args.json:
        return storewords.print_json(report)
    gone = f"{report.calls:,} calls, {report.bodies:,} bodies and {report.scores:,} scores"
    print(f"erased {report.traces:,} traces: {gone}, from {report.days} day files")
    for digest in report.artifacts:
        print(f"erased artefact {digest}: it was built from these traces alone")
    for digest in report.artifacts_kept:
        print(f"artefact {digest} was built from some of these traces: build it anew, then delete its folder")
    return 0


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("there is nobody to ask: give --yes to erase without being asked")
    print(f"{question} This cannot be undone. [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def prune(args: argparse.Namespace) -> int:
    from trimtab.store.traces import TraceWriter

    keep = storewords.settings(args).store.keep_days if args.keep_days is None else args.keep_days
    if keep < 1:
        raise ConfigError("nothing says how many days to keep: set store.keep_days, or give --keep-days N (1 or more)")
    with TraceWriter(storewords.there(args)) as writer:
        gone = writer.prune(keep, dry_run=args.dry_run)
    if args.json:
        return storewords.print_json({"keep_days": keep, "days": [path.name for path in gone]})
    print(f"{len(gone)} day files {'would go' if args.dry_run else 'deleted'}, older than {keep} days")
    for path in gone:
        print(path.name)
    return 0
