"""`trimtab keys`: make, list and end the virtual keys that limit who may call and spend."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trimtab import config
from trimtab.cli import keyfacts
from trimtab.gateway.keyring import Ring
from trimtab.gateway.keys import Key
from trimtab.money import text_of


def add(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    creating = _verb(verbs, "create", create, "make a key and print its secret, once")
    creating.add_argument("--tenant", default="", help="who it belongs to")
    creating.add_argument("--expires", type=keyfacts.seconds, metavar="AGE", help="end after that, such as 12h or 90d")
    changing = _verb(verbs, "limit", limit, "change what a key allows; what is not named stays as it is")
    for command in (creating, changing):
        command.add_argument(
            "--models", nargs="+", metavar="MODEL", help="models it may ask for; 'gpt-*' too, or 'none'"
        )
        for name, text in (("requests", "requests"), ("tokens", "tokens, input and output,")):
            command.add_argument(f"--{name}", type=keyfacts.number, metavar="N", help=f"{text} a minute, or 'none'")
        for name, text in (("day", "a UTC day"), ("month", "a UTC month"), ("run", "a workflow run (trace id)")):
            command.add_argument(
                f"--{name}", type=keyfacts.nanodollars, dest=f"{name}_usd", metavar="USD", help=f"US dollars {text}"
            )
    _verb(verbs, "show", show, "one key: what it allows and what it has used")
    rotating = _verb(verbs, "rotate", rotate, "give a key a new secret, printed once")
    rotating.add_argument(
        "--grace", type=keyfacts.seconds, default=0, metavar="AGE", help="how long the old one still works"
    )
    expiring = _verb(verbs, "expire", expire, "set when a key ends; now where nothing else is said")
    when = expiring.add_mutually_exclusive_group()
    when.add_argument(
        "--after", type=keyfacts.seconds, default=0, metavar="AGE", help="from now on, such as 30m, 12h or 90d"
    )
    when.add_argument("--never", action="store_true", help="let it live on")
    _verb(verbs, "revoke", revoke, "end a key for good")
    listing = _verb(verbs, "list", list_, "every key, with what it has spent", named=False)
    listing.add_argument("--tenant", help="only keys of this tenant")


def _verb(verbs: Any, name: str, run: Callable[..., int], text: str, named: bool = True) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    if named:
        command.add_argument("name", help="the key's name")
    command.add_argument("--store", type=Path, metavar="DIR", help="the store's folder (default: the config's)")
    command.add_argument("--config", type=Path, metavar="FILE", help="default: trimtab.toml, where there is one")
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    command.set_defaults(run=run)
    return command


def create(args: argparse.Namespace) -> int:
    expires = None if args.expires is None else time.time_ns() + args.expires * 10**9
    key = Key(name=args.name, tenant=args.tenant, expires_ns=expires, **_limits(args))
    return _print_secret(args, _ring(args).create(key))


def limit(args: argparse.Namespace) -> int:
    return _print(args, _ring(args).limit(args.name, **_limits(args)))


def rotate(args: argparse.Namespace) -> int:
    return _print_secret(args, _ring(args).rotate(args.name, args.grace))


def expire(args: argparse.Namespace) -> int:
    at_ns = None if args.never else time.time_ns() + args.after * 10**9
    return _print(args, _ring(args).expire(args.name, at_ns))


def revoke(args: argparse.Namespace) -> int:
    return _print(args, _ring(args).revoke(args.name))


def show(args: argparse.Namespace) -> int:
    return _print(args, _ring(args).get(args.name))


def list_(args: argparse.Namespace) -> int:
    ring = _ring(args)
    facts = keyfacts.of(ring.folder, [key for key in ring.all() if args.tenant in (None, key.tenant)])
    if args.json:
        print(json.dumps(facts))
    elif not facts:
        print(f"no keys in {ring.folder}: make one with `trimtab keys create NAME`")
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table()
        for head in ("name", "tenant", "state", "models", "spent today", "spent this month"):
            table.add_column(head, justify="right" if head.startswith("spent") else "left")
        for each in facts:
            spent = [text_of(round(each["used"][f"{span}_usd"] * 1e9)) for span in ("day", "month")]
            table.add_row(each["name"], each["tenant"], each["state"], ", ".join(each["models"]) or "all", *spent)
        Console().print(table)
    return 0


def _print(args: argparse.Namespace, key: Key) -> int:
    (facts,) = keyfacts.of(_ring(args).folder, [key])
    if args.json:
        print(json.dumps(facts))
        return 0
    for name, held in facts.items():
        text = ", ".join(f"{part} {each:,}" for part, each in held.items()) if isinstance(held, dict) else held
        print(f"{name:<11}{', '.join(text) if isinstance(text, list) else text if text is not None else 'never'}")
    return 0


def _print_secret(args: argparse.Namespace, secret: str) -> int:
    if args.json:
        print(json.dumps({"name": args.name, "key": secret}))
    else:
        print(f"{secret}\nkeep it now, it cannot be shown again", flush=True)
    return 0


def _limits(args: argparse.Namespace) -> dict[str, Any]:
    """The limits that were named; None for those that were lifted."""
    named = {
        "models": None if args.models is None else tuple(each for each in args.models if each != "none"),
        "requests_per_minute": args.requests,
        "tokens_per_minute": args.tokens,
        **{f"{span}_nanodollars": getattr(args, f"{span}_usd") for span in ("day", "month", "run")},
    }
    return {name: held or (None if held == 0 else ()) for name, held in named.items() if held is not None}


def _ring(args: argparse.Namespace) -> Ring:
    default = Path("trimtab.toml")
    path = args.config or (default if default.exists() else None)
    settings = config.read(path) if path else config.Settings()
    return Ring(args.store or Path(settings.store.folder))
