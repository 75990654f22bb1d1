"""`trimtab arena`: run the dealership's tasks against any OpenAI-compatible endpoint."""

from __future__ import annotations

import argparse
import asyncio
import os

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from trimtab.arena import outcome
from trimtab.arena.client import Target
from trimtab.arena.dealership import goals, phrases, tasks
from trimtab.arena.run import Pace, Run, Session
from trimtab.config import shipped_prices
from trimtab.errors import ConfigError
from trimtab.money import text_of


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab arena run|goals`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    run = verbs.add_parser("run", help="play sessions and say how many were solved")
    run.add_argument("--endpoint", required=True, help="address of the endpoint, ending in /v1")
    run.add_argument("--model", default="dealer-teacher", help="model to ask for (default %(default)s)")
    run.add_argument("--tasks", type=int, default=100, help="number of tasks (default %(default)s)")
    run.add_argument("--split", choices=phrases.SPLITS, default="test", help="split (default %(default)s)")
    run.add_argument("--seed", type=int, default=0, help="seed of the task list (default %(default)s)")
    run.add_argument(
        "--trials", type=int, default=1, help="times each task is played, for pass^k (default %(default)s)"
    )
    run.add_argument("--concurrency", type=int, default=8, help="sessions at once (default %(default)s)")
    run.add_argument(
        "--speed", type=float, default=0.0, help="let customers arrive at their own times, this much faster"
    )
    run.add_argument("--temperature", type=float, default=0.0, help="sampling temperature (default %(default)s)")
    run.add_argument("--no-stream", action="store_true", help="ask for whole answers instead of streams")
    run.add_argument("--key-env", default="", help="environment variable that holds the endpoint's key")
    run.add_argument("--price", default="", help="model in the price table to count at (default: --model)")
    run.add_argument("--json", action="store_true", help="print the outcome and every session as JSON")
    run.set_defaults(run=_run)
    listing = verbs.add_parser("goals", help="list what customers want")
    listing.set_defaults(run=_goals)


def _run(args: argparse.Namespace) -> int:
    if args.key_env and not os.environ.get(args.key_env):
        raise ConfigError(f"the environment variable {args.key_env} is not set: export the endpoint's key in it")
    target = Target(
        url=args.endpoint,
        model=args.model,
        key_env=args.key_env,
        temperature=args.temperature,
        stream=not args.no_stream,
    )
    todo = tasks.draw(args.split, args.tasks, args.seed)
    run = Run(target, todo, Pace(args.concurrency, args.speed), args.trials)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("sessions", total=len(run.plan))
        asyncio.run(run.play(lambda session: progress.advance(bar)))
    result = outcome.of(run.sessions, run.seconds, shipped_prices(), args.price or args.model)
    if args.json:
        print(msgspec.json.encode({"outcome": result, "sessions": run.sessions}).decode())
    else:
        _print(result, run.sessions)
    return 0


def _print(result: outcome.Outcome, sessions: list[Session]) -> None:
    console = Console()
    table = Table(title="Dealership", caption=_caption(result))
    for head in ("goal", "solved", "of", "success", "95 % interval"):
        table.add_column(head, justify="left" if head == "goal" else "right")
    for name, share in [*result.families.items(), ("all", result.success)]:
        interval = f"{share.low:.1%} – {share.high:.1%}"
        table.add_row(name, str(share.good), str(share.n), f"{share.value:.1%}", interval, end_section=name != "all")
    console.print(table)
    for session in [s for s in sessions if not s.solved][:5]:
        line = f"  not solved: {session.task.id} ({session.task.family}): {'; '.join(session.faults)}"
        console.print(line, markup=False)


def _caption(result: outcome.Outcome) -> str:
    powers = "  ".join(f"pass^{k} {value:.1%}" for k, value in enumerate(result.pass_k, 1))
    per_solved = text_of(result.nanodollars_per_solved)
    return (
        f"{powers}  hand-offs {result.handoffs.value:.1%} of {result.handoffs.n}\n"
        f"{result.calls:,} calls, {result.tool_calls:,} tool calls, {result.input_tokens:,} tokens in "
        f"({result.cached_tokens:,} cached), {result.output_tokens:,} out\n"
        f"cost {text_of(result.cost_nanodollars)}, {per_solved} a solved session; {result.wall_s:.1f} s, "
        f"median session {result.session_s_median:.2f} s"
    )


def _goals(args: argparse.Namespace) -> int:
    table = Table(title="Goal families")
    for head in ("family", "tool calls", "templates", "facts"):
        table.add_column(head, justify="right" if head in ("tool calls", "templates") else "left")
    for name, family in goals.FAMILIES.items():
        asks = (
            [f"info_{topic}" for topic in sorted(set(goals.CHOICES["topic"]))]
            if name == "info"
            else [goals.STARTS_AS.get(name, name)]
        )
        slots = [*family.slots, *(["phone"] if family.account else [])]
        table.add_row(name, str(family.steps), str(sum(phrases.count(ask, slots) for ask in asks)), ", ".join(slots))
    Console().print(table)
    return 0
