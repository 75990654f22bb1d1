"""`trimtab traces`: list, show, export and import what was recorded."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from trimtab import config
from trimtab.errors import ConfigError, FormatError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = _verb(verbs, "list", list_, "the newest traces, one a line")
    listing.add_argument("--limit", type=int, default=50, help="how many at most (default 50)")
    showing = _verb(verbs, "show", show, "one trace as a tree of agents, calls and tools")
    showing.add_argument("id", help="the trace's id, or a unique beginning of it")
    exporting = _verb(verbs, "export", export, "calls as OpenAI-style JSON Lines, which `import` reads back")
    exporting.add_argument("--output", type=Path, metavar="FILE", help="where to (default: standard output)")
    importing = _verb(verbs, "import", import_, "add calls from a file; those already there are left alone")
    importing.add_argument("file", type=Path, metavar="FILE")
    importing.add_argument("--format", choices=("auto", "openai", "tau-bench"), default="auto")
    for command in (listing, exporting):
        for name in ("workflow", "agent", "session"):
            command.add_argument(f"--{name}", help=f"only traces with a call of this {name}")
        command.add_argument("--since", metavar="AGE", help="only traces with a call since then, such as 30m, 2h or 7d")
    for command in (listing, showing, importing):
        command.add_argument("--json", action="store_true", help="print JSON instead of text")


def _verb(verbs: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    command.add_argument("--store", type=Path, metavar="DIR", help="the store's folder (default: the config's)")
    command.add_argument("--config", type=Path, metavar="FILE", help="default: trimtab.toml, where there is one")
    command.set_defaults(run=run)
    return command


def list_(args: argparse.Namespace) -> int:
    from trimtab.store.traces import TraceReader

    folder = _folder(args)
    words = {"workflow": args.workflow, "agent": args.agent, "session": args.session}
    summaries = TraceReader(folder).traces(**words, since_ns=_since(args.since), limit=args.limit)
    if args.json:
        return _print_json(summaries)
    if not summaries:
        print(f"no traces in {folder}: record some with `trimtab serve`, or add some with `trimtab traces import FILE`")
        return 0
    from trimtab.cli import tracetree

    return tracetree.draw(tracetree.table_of(summaries))


def show(args: argparse.Namespace) -> int:
    from trimtab.store.traces import TraceReader
    from trimtab.store.tree import tree_of

    tree = tree_of(TraceReader(_folder(args)).trace(args.id))
    if args.json:
        return _print_json(tree)
    from trimtab.cli import tracetree

    return tracetree.draw(tracetree.drawing_of(tree))


def export(args: argparse.Namespace) -> int:
    from trimtab.store import exporter
    from trimtab.store.traces import TraceFilter, TraceReader

    since = _since(args.since)
    wanted = TraceFilter(workflow=args.workflow, agent=args.agent, session=args.session, since_ns=since)
    traces = TraceReader(_folder(args)).scan(wanted)
    if args.output is None:
        exporter.export(traces, sys.stdout.buffer)
    else:
        print(f"wrote {exporter.export_file(traces, args.output):,} calls to {args.output}")
    return 0


def import_(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from trimtab.store.importers import import_file
    from trimtab.store.traces import TraceWriter

    if not args.file.is_file():
        raise FormatError(f"cannot read {args.file}: no such file; name one that is there")
    prices = _settings(args).price_table()
    console = Console(stderr=True)
    with TraceWriter(_folder(args)) as writer, Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(args.file.name, total=args.file.stat().st_size)
        advance = partial(bar.update, task)
        report = import_file(args.file, writer, prices, kind=args.format, progress=lambda done: advance(completed=done))
    if args.json:
        _print_json(report)
    else:
        print(f"{report.read:,} calls read: {report.new:,} new, {report.known:,} already there; {report.bad:,} bad")
        if report.samples:
            print(f"first bad: {report.samples[0]}")
    return 0 if report.read or not report.bad else FormatError.exit_code


def _settings(args: argparse.Namespace) -> config.Settings:
    default = Path("trimtab.toml")
    path = args.config or (default if default.exists() else None)
    return config.read(path) if path else config.Settings()


def _folder(args: argparse.Namespace) -> Path:
    return args.store or Path(_settings(args).store.folder)


def _since(age: str | None) -> int | None:
    if age is None:
        return None
    match = re.fullmatch(r"(\d{1,6})([smhd])", age)
    if match is None:
        raise ConfigError(f"--since {age} is no age: give a number with s, m, h or d, such as 2h")
    return time.time_ns() - int(match[1]) * _UNITS[match[2]] * 10**9


def _print_json(value: object) -> int:
    print(msgspec.json.encode(value).decode())
    return 0
