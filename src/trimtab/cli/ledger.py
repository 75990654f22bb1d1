"""`trimtab ledger`: what was forecast, proven, rolled out and saved, and whether the record is whole."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from trimtab.cli import storewords


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab ledger verify|list|saving`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    verifying = storewords.verb(verbs, "verify", verify, "check every byte, and compute every verdict again")
    verifying.add_argument("--head", default="", metavar="HASH", help="an entry that must be there, from a report say")
    listing = storewords.verb(verbs, "list", list_, "entries, one a line")
    listing.add_argument("--kind", default="", help="only estimate, verdict, rollout or saving")
    saving = storewords.verb(verbs, "saving", saving_, "note what was saved, by the recorded calls")
    text = "the configuration as it was: also note what cheaper models saved against its prices"
    saving.add_argument("--baseline", type=Path, metavar="FILE", help=text)
    saving.add_argument("--since", metavar="AGE", help="only calls since then, such as 30m, 2h or 7d")
    for command in (verifying, listing, saving):
        command.add_argument("--json", action="store_true", help="print JSON instead of text")


def verify(args: argparse.Namespace) -> int:
    from trimtab.errors import StoreError
    from trimtab.gate import recompute
    from trimtab.store.ledger import Ledger

    ledger = Ledger(storewords.folder(args))
    entries = ledger.entries()
    if args.head:
        ledger.find(args.head)
    verdicts = [entry for entry in entries if entry.kind == "verdict"]
    for entry in verdicts:
        if faults := recompute.check(recompute.verdict_of(entry)):
            raise StoreError(f"entry {entry.number} does not follow from its counts: {'; '.join(faults)}")
    head = entries[-1].hash if entries else ""
    if args.json:
        return storewords.print_json({"entries": len(entries), "verdicts": len(verdicts), "head": head})
    print(
        f"{len(entries)} entries are whole, {len(verdicts)} verdicts follow from their counts; the last is {head[:16]}"
    )
    return 0


def list_(args: argparse.Namespace) -> int:
    from trimtab.store.ledger import Ledger

    ledger = Ledger(storewords.folder(args))
    entries = ledger.entries(args.kind)
    if args.json:
        return storewords.print_json(entries)
    for entry in entries:
        said = entry.body.get("decision") or entry.body.get("stage") or entry.body.get("lever") or ""
        names = entry.body.get("names") or {}
        print(f"{entry.hash[:12]}  {entry.at}  {entry.kind:<8}  {said:<12}  {names.get('candidate', '')}")
    if not entries:
        print(f"no entries in {ledger.folder}: `trimtab gate run` makes one")
    return 0


def saving_(args: argparse.Namespace) -> int:
    import msgspec

    from trimtab import config
    from trimtab.money import text_of
    from trimtab.plan import spending
    from trimtab.store.ledger import Ledger
    from trimtab.store.traces import TraceFilter, TraceReader

    folder, since = storewords.there(args), storewords.since_ns(args.since)
    traces = TraceReader(folder).scan(TraceFilter(since_ns=since), bodies=False)
    before = config.read(args.baseline) if args.baseline else None
    hits, moves = spending.Hits(), spending.Moves(before.deployment(), before.price_table()) if before else None
    for call in (call for trace in traces for call in trace.calls if call.started_ns >= (since or 0)):
        hits.add(call)
        if moves is not None:
            moves.add(call)
    found = hits.saved()
    body: dict[str, Any] = {"since_ns": since or 0, **msgspec.structs.asdict(found)}
    if moves is not None:
        body["moved"] = msgspec.structs.asdict(moves.moved())
    Ledger(folder).append("saving", body)
    if args.json:
        return storewords.print_json(body)
    print(
        f"{found.hits:,} of {found.calls:,} calls were answered from what was kept: {text_of(found.nanodollars)} saved"
    )
    if moves is not None:
        elsewhere = moves.moved()
        print(
            f"{elsewhere.calls:,} at other prices than those of {args.baseline}: {text_of(elsewhere.nanodollars)} saved"
            + (f"; {elsewhere.unpriced:,} have no price" if elsewhere.unpriced else "")
        )
    return 0
