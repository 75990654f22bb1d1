"""`trimtab rollout`: let a proven candidate take the traffic step by step, and take it back."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from trimtab import config
from trimtab.cli import recipewords, rolloutwords, storewords
from trimtab.errors import TrimtabError
from trimtab.rollout import stages, steps
from trimtab.rollout.stages import Plan, Rollout

# How long a change is waited for until every serving process has taken it.
_PATIENCE_S = 3.0
_FIRST_S = 1.5


def add(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    starting = _verb(verbs, "start", start, "ask a candidate beside the traffic; nobody is served by it yet")
    starting.add_argument(
        "--candidate", type=Path, required=True, metavar="FILE", help="the candidate's own trimtab.toml"
    )
    starting.add_argument("--plan", type=Path, metavar="FILE", help="TOML with what it must show; see docs/rollout.md")
    starting.add_argument("--margin", type=float, metavar="M", help="the loss of quality accepted, 0.02 is two points")
    starting.add_argument("--canary", type=float, metavar="SHARE", help="of sessions that the canary serves")
    starting.add_argument("--sampled", type=float, metavar="SHARE", help="of calls that are asked twice")
    starting.add_argument("--automatic", action="store_true", default=None, help="go on by itself after each verdict")
    _verb(verbs, "status", status, "how the stage stands, what happened, and who serves it")
    _verb(verbs, "advance", advance, "go to the next stage, if a verdict in the ledger allows it")
    backing = _verb(verbs, "rollback", rollback, "give all traffic back to the baseline")
    backing.add_argument("--reason", default="by hand", help="what the ledger is to say of it")
    text = "how a model is served in production: command, compose file, Kubernetes manifest"
    recipewords.options(_verb(verbs, "recipe", recipewords.run, text))


def _verb(verbs: Any, name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
    command = storewords.verb(verbs, name, run, text)
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    return command


def start(args: argparse.Namespace) -> int:
    settings = config.read(args.config or Path("trimtab.toml"))
    candidate = config.read(args.candidate).deployment()
    return _say(args, steps.start(storewords.folder(args), settings.deployment(), candidate, _plan(args)))


def advance(args: argparse.Namespace) -> int:
    settings = storewords.settings(args)
    configured = settings.deployment() if settings.endpoints else None
    return _say(args, steps.advance(storewords.folder(args), configured))


def rollback(args: argparse.Namespace) -> int:
    return _say(args, steps.rollback(storewords.folder(args), args.reason))


def status(args: argparse.Namespace) -> int:
    found = steps.status(storewords.folder(args))
    print(json.dumps(msgspec.to_builtins(found)) if args.json else rolloutwords.text(found))
    return 0


def _say(args: argparse.Namespace, rollout: Rollout) -> int:
    """What the rollout is now, and whether the serving processes have taken it."""
    folder, began = storewords.folder(args), time.monotonic()
    while True:
        found = steps.status(folder)
        taken = [each for each in found.processes if each.revision >= rollout.revision]
        # A gateway that never saw a rollout is not known before it has seen this one.
        patience_s = _PATIENCE_S if found.processes else _FIRST_S if rollout.revision == 1 else 0.0
        if (taken and len(taken) == len(found.processes)) or time.monotonic() - began > patience_s:
            break
        time.sleep(0.02)
    if args.json:
        print(json.dumps(msgspec.to_builtins(found)))
    else:
        print(f"rollout {rollout.id} is {rollout.stage}: {rollout.reason or 'begun'}")
        print(rolloutwords.taken(found))
    return 0 if len(taken) == len(found.processes) else TrimtabError.exit_code


def _plan(args: argparse.Namespace) -> Plan:
    """The plan's file, with what the command line says laid over it."""
    plan = stages.read(args.plan) if args.plan else Plan()
    named = {name: getattr(args, name) for name in ("margin", "canary", "sampled", "automatic")}
    return stages.changed(plan, {name: given for name, given in named.items() if given is not None})
