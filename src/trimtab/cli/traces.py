"""`trimtab traces`: list, show and export what was recorded; what alters it is in files of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trimtab.cli import storewords, tracechanges, traceremovals


def add(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = storewords.verb(verbs, "list", list_, "the newest traces, one a line")
    listing.add_argument("--limit", type=int, default=50, help="how many at most (default 50)")
    showing = storewords.verb(verbs, "show", show, "one trace as a tree of agents, calls and tools")
    showing.add_argument("id", help="the trace's id, or a unique beginning of it")
    exporting = storewords.verb(verbs, "export", export, "calls as OpenAI-style JSON Lines, which `import` reads back")
    exporting.add_argument("--output", type=Path, metavar="FILE", help="where to (default: standard output)")
    for command in (listing, exporting):
        for name in ("workflow", "agent", "session"):
            command.add_argument(f"--{name}", help=f"only traces with a call of this {name}")
        command.add_argument("--since", metavar="AGE", help="only traces with a call since then, such as 30m, 2h or 7d")
    for command in (listing, showing):
        command.add_argument("--json", action="store_true", help="print JSON instead of text")
    tracechanges.add(verbs)
    traceremovals.add(verbs)


def list_(args: argparse.Namespace) -> int:
    from trimtab.store.traces import TraceReader

    folder = storewords.folder(args)
    words = {"workflow": args.workflow, "agent": args.agent, "session": args.session}
    summaries = TraceReader(folder).traces(**words, since_ns=storewords.since_ns(args.since), limit=args.limit)
    if args.json:
        return storewords.print_json(summaries)
    if not summaries:
        print(f"no traces in {folder}: record some with `trimtab serve`, or add some with `trimtab traces import FILE`")
        return 0
    from trimtab.cli import tracetree

    return tracetree.draw(tracetree.table_of(summaries))


def show(args: argparse.Namespace) -> int:
    from trimtab.store.traces import TraceReader
    from trimtab.store.tree import tree_of

    tree = tree_of(TraceReader(storewords.folder(args)).trace(args.id))
    if args.json:
        return storewords.print_json(tree)
    from trimtab.cli import tracetree

    return tracetree.draw(tracetree.drawing_of(tree))


def export(args: argparse.Namespace) -> int:
    from trimtab.store import exporter
    from trimtab.store.traces import TraceFilter, TraceReader

    since = storewords.since_ns(args.since)
    wanted = TraceFilter(workflow=args.workflow, agent=args.agent, session=args.session, since_ns=since)
    traces = TraceReader(storewords.folder(args)).scan(wanted)
    if args.output is None:
        exporter.export(traces, sys.stdout.buffer)
    else:
        print(f"wrote {exporter.export_file(traces, args.output):,} calls to {args.output}")
    return 0
