"""The verbs of `trimtab traces` that alter the store: import, reprice."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from trimtab.cli import storewords
from trimtab.errors import FormatError
from trimtab.money import text_of as money


def add(verbs: Any) -> None:
    importing = storewords.verb(
        verbs, "import", import_, "add calls from anyone's logs; those already there are left alone"
    )
    importing.add_argument("source", metavar="LOGS", help="a file, a folder, a store, or postgresql://…")
    importing.add_argument("--format", default="auto", help="the kind of log, if it is not to be told (docs/traces.md)")
    pricing = storewords.verb(verbs, "reprice", reprice, "price recorded calls anew by the price table of today")
    pricing.add_argument("--since", metavar="AGE", help="only calls since then, such as 30m, 2h or 7d")
    pricing.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    for command in (importing, pricing):
        command.add_argument("--json", action="store_true", help="print JSON instead of text")


def import_(args: argparse.Namespace) -> int:
    from trimtab.store.importers import import_file
    from trimtab.store.logs import size_of
    from trimtab.store.traces import TraceWriter

    settings, size = storewords.settings(args), size_of(args.source)
    name = "the database" if size is None else Path(args.source).name
    writing = TraceWriter(storewords.folder(args), redact_personal=settings.store.redact_personal)
    with writing as writer, storewords.bar(name) as bar:
        prices = settings.price_table()
        report = import_file(args.source, writer, prices, kind=args.format, progress=lambda done: bar(done, size))
    if args.json:
        storewords.print_json(report)
    else:
        print(f"{report.read:,} calls read: {report.new:,} new, {report.known:,} already there; {report.bad:,} bad")
        if report.samples:
            print(f"first bad: {report.samples[0]}")
        for remark, count in report.remarks.items():
            print(f"{count:,} {remark}")
    return 0 if report.read or not report.bad else FormatError.exit_code


def reprice(args: argparse.Namespace) -> int:
    from trimtab.store.errand import Repricing, repriced
    from trimtab.store.reprice import Pricing, preview

    settings, since = storewords.settings(args), storewords.since_ns(args.since)
    named = {endpoint.name: endpoint.price for endpoint in settings.endpoints if endpoint.price}
    pricing = Pricing(settings.price_table(), named)
    with storewords.bar("pricing") as bar:
        if args.dry_run:
            report = preview(storewords.there(args), pricing, since_ns=since, progress=bar)
        else:
            report = repriced(storewords.there(args), Repricing(pricing, since), bar)
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
