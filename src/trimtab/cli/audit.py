"""`trimtab audit`: from anyone's logs to a ranked list of savings."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.cli import storewords
from trimtab.errors import FormatError, require

if TYPE_CHECKING:
    from trimtab.plan.survey import Progress, Survey, Surveyor

WIDTH = 120  # columns, where there is no terminal to ask
_REDRAW_S = 0.1


def add(parser: argparse.ArgumentParser) -> None:
    text = "files, folders, a store or postgresql://… (default: the config's store)"
    parser.add_argument("logs", nargs="*", metavar="LOGS", help=text)
    parser.add_argument("--format", default="auto", help="the kind of log, if it is not to be told (docs/audit.md)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report there, as one self-contained page")
    parser.add_argument("--json", action="store_true", help="print everything that was found as JSON")
    for name in ("workflow", "agent"):
        parser.add_argument(f"--{name}", help=f"only calls of this {name}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="prices and store; default: trimtab.toml, if any")
    text = "CPU seconds for reading texts closely (default 12); more of them narrow the intervals"
    parser.add_argument("--seconds", type=float, default=12.0, metavar="S", help=text)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from trimtab.plan.survey import Surveyor, Wanted
    from trimtab.plan.worth import Budget
    from trimtab.ui.audit import page, summary

    if args.html:
        require("audit", "vl_convert", "jinja2")
        page.check(args.html)
    settings = storewords.settings(args)
    surveyor = Surveyor(settings.price_table(), Wanted(args.workflow, args.agent), is_one=len(args.logs) < 2)
    found = _read(surveyor, args.logs or [settings.store.folder], args.format)
    if not found.audit.totals.calls:
        raise FormatError(summary.nothing(found))
    console = Console(stderr=args.json)
    console = console if console.is_terminal else Console(stderr=args.json, width=WIDTH)
    if not args.json:
        console.print(summary.drawn(found))
    with console.status("weighing the levers") if console.is_terminal else _quiet():
        whole = surveyor.weighed(found, Budget(cpu_s=max(0.0, args.seconds)))
    if args.html:
        page.write(args.html, whole)
    if args.json:
        return storewords.print_json(whole)
    console.print(summary.levers(whole))
    console.print(
        f"\n The report: {args.html}" if args.html else "\n The whole report: add  --html report.html", style="dim"
    )
    return 0


def _read(surveyor: Surveyor, logs: list[str], kind: str) -> Survey:
    with _bar() as progress:
        for source in logs:
            surveyor.read(source, kind, progress)
    return surveyor.found()


@contextmanager
def _bar() -> Iterator[Progress]:
    """A bar with the calls so far, where the error output is a terminal; drawn ten times a second at most."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[calls]:,} calls"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as drawn:
        task, due = drawn.add_task("reading", total=None, calls=0), 0.0

        def progress(source: str, done: int, size: int | None, calls: int) -> None:
            nonlocal due
            if (now := time.monotonic()) >= due:
                due = now + _REDRAW_S
                drawn.update(task, description=Path(source).name, completed=done, total=size, calls=calls)

        yield progress


@contextmanager
def _quiet() -> Iterator[None]:
    print("weighing the levers", file=sys.stderr)
    yield
