"""What the commands about levers share: which lever, with what options, on which traces, and how rows are drawn."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.cli import storewords
from trimtab.errors import ConfigError

if TYPE_CHECKING:
    from trimtab.lever import Lever
    from trimtab.trace import Trace


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("lever", help="which lever, such as cache")
    parser.add_argument("--store", type=Path, metavar="DIR", help="the store's folder (default: the config's)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: trimtab.toml, where there is one")
    text = "an option of the lever's step, as in TOML: alpha=0.02; may be given several times"
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help=text)
    parser.add_argument("--workflow", help="only traces with a call of this workflow")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--agent", help="only traces with a call of this agent; a lever that can be is built for it alone"
    )
    which.add_argument("--all", action="store_true", help="every agent, as without --agent")
    parser.add_argument("--since", metavar="AGE", help="only traces with a call since then, such as 30m, 2h or 7d")


def lever(args: argparse.Namespace) -> Lever:
    """The lever named. Its options are those of the configuration's own step of it, and over them the given ones."""
    from trimtab.levers import finding

    held: dict[str, Any] = {}
    if args.config or Path("trimtab.toml").exists():
        steps = storewords.settings(args).deployment().steps
        held = next((dict(step.options) for step in steps if step.lever == args.lever), {})
    try:
        given = tomllib.loads("\n".join(args.option))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"an --option is no TOML ({error}): write name=value, texts in quotes") from error
    return finding.lever(args.lever, {**held, **given}, args.agent)


def traces(args: argparse.Namespace) -> Iterable[Trace]:
    from trimtab.store.traces import TraceFilter, TraceReader

    since = storewords.since_ns(args.since)
    wanted = TraceFilter(workflow=args.workflow, agent=args.agent, since_ns=since)
    return TraceReader(storewords.there(args)).scan(wanted)


def draw(name: str, rows: Sequence[dict[str, Any]]) -> None:
    """A table under its name; nothing where there are no rows."""
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=name, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(held) for held in row.values()))
    console.print()
    console.print(table)
