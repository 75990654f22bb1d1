"""`trimtab demo`: the whole main job on this machine, in about two minutes."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from trimtab.cli import demolevers
from trimtab.config import shipped_prices
from trimtab.errors import ConfigError, require
from trimtab.plan import audit, report
from trimtab.store.traces import TraceReader
from trimtab.ui import demo

WIDTH = 100  # columns, where there is no terminal to ask
SNIPPETS = """\
[bold]The gateway stays up at {url}[/] until Ctrl-C. Ask it something:

curl {url}/chat/completions -H 'content-type: application/json' -H 'x-trimtab-agent: triage' \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "When are you open?"}}]}}'

from openai import OpenAI
client = OpenAI(base_url="{url}", api_key="none")
answer = client.chat.completions.create(
    model="{model}", messages=[{{"role": "user", "content": "When are you open?"}}])
print(answer.choices[0].message)
"""


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab demo`."""
    parser.add_argument("--sessions", type=int, default=600, help="customers to serve (default %(default)s)")
    parser.add_argument("--concurrency", type=int, default=8, help="sessions at once (default %(default)s)")
    parser.add_argument("--speed", type=float, default=7.0, help="how much faster customers arrive; 0 = all at once")
    parser.add_argument("--model", default="dealer-teacher", help="shipped name or checkpoint folder")
    parser.add_argument("--price", default="gpt-4o", help="model whose list price is counted (default %(default)s)")
    parser.add_argument("--store", type=Path, default=Path(".trimtab/demo"), help="parent folder of the record")
    parser.add_argument("--keep", action="store_true", help="leave the gateway running and show how to call it")
    text = "then estimate, build, gate and roll out these levers, one after the other, such as cache; without a name: "
    text += "from the large model to a small one, in fewer bits, with a drafter"
    whole = demolevers.CHAIN
    parser.add_argument("--levers", type=_names, nargs="?", const=whole, default=(), metavar="NAME,...", help=text)
    text = "an option of a lever, as in TOML: cache.alpha=0.02; may be given several times"
    parser.add_argument("--option", action="append", default=[], metavar="LEVER.NAME=VALUE", help=text)
    text = "what the gate asks of a lever (default: its own criteria; see docs/gate.md)"
    parser.add_argument("--criteria", type=Path, metavar="FILE", help=text)
    parser.add_argument("--margin", type=float, default=0.1, help="loss of quality accepted (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the final figures as JSON")
    parser.set_defaults(run=_run)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _run(args: argparse.Namespace) -> int:
    if shipped_prices().find(args.price) is None:
        raise ConfigError(f"no list price for '{args.price}': take one of {', '.join(shipped_prices().prices)}")
    require("engine", "openvino_genai", "tokenizers", "jinja2", "starlette")
    if args.levers:
        demolevers.check(args)
    folder = args.store / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    options = demo.Options(
        store=folder,
        model=args.model,
        price=args.price,
        sessions=args.sessions,
        concurrency=max(1, args.concurrency),
        speed=args.speed,
    )
    console = Console(stderr=args.json)
    if not console.is_terminal:
        console = Console(stderr=args.json, width=WIDTH)
    with demo.service(options, lambda text: console.print(f"[dim]{text}[/]")) as up:
        run = demo.play(options, up, console)
        demolevers.recorded(folder, sum(session.calls for session in run.sessions))
        if args.levers:
            return demolevers.run(args, demolevers.Shown(options, up, console))
        measured = audit.measure(TraceReader(folder).scan())
        if args.json:
            print(report.to_json(measured))
        else:
            console.print(report.draw(measured))
            _next(console, folder)
        if args.keep:
            console.print(SNIPPETS.format(url=up.gateway_url, model=up.model), highlight=False, soft_wrap=True)
            while True:
                time.sleep(3600)
    return 0


def _next(console: Console, folder: Path) -> None:
    newest = TraceReader(folder).traces(limit=1)
    name = newest[0].id[:12] if newest else "ID"
    store = f"--store {folder}"
    called = sys.argv[0] if Path(sys.argv[0]).name == "trimtab" else "trimtab"
    console.print("\n[bold]Next[/]")
    for words in (
        f"traces list {store}",
        f"traces show {name} {store}",
        "demo --keep  # and call the gateway yourself",
    ):
        console.print(f"  {called} {words}", highlight=False, soft_wrap=True)
