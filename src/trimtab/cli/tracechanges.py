"""The verbs of `trimtab traces` that alter the store: import, reprice, erase, prune."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from trimtab.cli import storewords
from trimtab.errors import ConfigError, FormatError
from trimtab.money import text_of as money


def add(verbs: Any) -> None:
    importing = storewords.verb(verbs, "import", import_, "add calls from a file; those already there are left alone")
    importing.add_argument("file", type=Path, metavar="FILE")
    importing.add_argument("--format", choices=("auto", "openai", "tau-bench"), default="auto")
    pricing = storewords.verb(verbs, "reprice", reprice, "price recorded calls anew by the price table of today")
    pricing.add_argument("--since", metavar="AGE", help="only calls since then, such as 30m, 2h or 7d")
    pricing.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    erasing = storewords.verb(verbs, "erase", erase, "take every byte of a user, a session or a trace out of the store")
    for name in ("user", "session", "trace"):
        erasing.add_argument(f"--{name}", help=f"traces with a call of this {name}; what is given must all hold")
    erasing.add_argument("--yes", action="store_true", help="do not ask")
    pruning = storewords.verb(verbs, "prune", prune, "delete day files older than the retention")
    pruning.add_argument("--keep-days", type=int, metavar="N", help="days to keep (default: store.keep_days)")
    pruning.add_argument("--dry-run", action="store_true", help="say what would go, and delete nothing")
    for command in (importing, pricing, erasing, pruning):
        command.add_argument("--json", action="store_true", help="print JSON instead of text")


def import_(args: argparse.Namespace) -> int:
    from trimtab.store.importers import import_file
    from trimtab.store.traces import TraceWriter

    if not args.file.is_file():
        raise FormatError(f"cannot read {args.file}: no such file; name one that is there")
    settings, size = storewords.settings(args), args.file.stat().st_size
    writing = TraceWriter(storewords.folder(args), redact_personal=settings.store.redact_personal)
    with writing as writer, storewords.bar(args.file.name) as bar:
        prices = settings.price_table()
        report = import_file(args.file, writer, prices, kind=args.format, progress=lambda done: bar(done, size))
    if args.json:
        storewords.print_json(report)
    else:
        print(f"{report.read:,} calls read: {report.new:,} new, {report.known:,} already there; {report.bad:,} bad")
        if report.samples:
            print(f"first bad: {report.samples[0]}")
    return 0 if report.read or not report.bad else FormatError.exit_code


def reprice(args: argparse.Namespace) -> int:
    from trimtab.store.errand import Repricing, repriced
    from trimtab.store.reprice import Pricing, preview

    settings, since = storewords.settings(args), storewords.since_ns(args.since)
    named = {endpoint.name: endpoint.price for endpoint in settings.endpoints if endpoint.price}
    pricing = Pricing(settings.price_table(), named)
    with storewords.bar("pricing") as bar:
        if args.dry_run:
            report = preview(_there(args), pricing, since_ns=since, progress=bar)
        else:
            report = repriced(_there(args), Repricing(pricing, since), bar)
    if args.json:
        return storewords.print_json(report)
    would = "would change" if args.dry_run else "changed"
    totals = f"{money(report.old_nanodollars)} before, {money(report.new_nanodollars)} after"
    print(f"{report.calls:,} calls, {report.changed:,} {would}: {totals} (price table {report.table})")
    for name, count in sorted(report.unpriced.items()):
        print(f"still unpriced: {count:,} calls of {name}; add it under [prices.models]")
    for name, count in sorted(report.kept.items()):
        print(f"kept at their old cost: {count:,} calls of {name}, which the table does not have")
    return 0


def erase(args: argparse.Namespace) -> int:
    from trimtab.store import erase as erasing
    from trimtab.store import errand

    settings, folder = storewords.settings(args), _there(args)
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


def _there(args: argparse.Namespace) -> Path:
    folder = storewords.folder(args)
    if not folder.is_dir():
        raise ConfigError(f"there is no store at {folder}: name its folder with --store")
    return folder


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
    with TraceWriter(_there(args)) as writer:
        gone = writer.prune(keep, dry_run=args.dry_run)
    if args.json:
        return storewords.print_json({"keep_days": keep, "days": [path.name for path in gone]})
    print(f"{len(gone)} day files {'would go' if args.dry_run else 'deleted'}, older than {keep} days")
    for path in gone:
        print(path.name)
    return 0
