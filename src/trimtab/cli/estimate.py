"""`trimtab estimate`: what a lever would have saved on the recorded traces, before anything is built."""

from __future__ import annotations

import argparse

from trimtab.cli import leverwords, storewords


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab estimate LEVER`."""
    leverwords.options(parser)
    parser.add_argument("--no-ledger", action="store_true", help="do not note the forecast in the ledger")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import msgspec

    from trimtab.store.ledger import Ledger

    lever, store = leverwords.lever(args), storewords.there(args)
    found = lever.estimate(leverwords.traces(args), storewords.settings(args).price_table())
    if not args.no_ledger:
        kept = {name: held for name, held in msgspec.to_builtins(found).items() if name != "tables"}
        Ledger(store).append("estimate", kept)
    if args.json:
        return storewords.print_json(found)
    print(f"{found.lever} would have saved {found.saving:.1%} of the cost [{found.low:.1%}, {found.high:.1%}]")
    print(f"{found.n:,} sessions; {found.method}")
    print(f"risk: {found.risk}")
    for name, rows in found.tables.items():
        leverwords.draw(name, rows)
    return 0
