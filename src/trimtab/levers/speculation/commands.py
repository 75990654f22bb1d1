"""`trimtab speculation`: whether a drafter still fits the traffic, and training data for one on GPUs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import msgspec

from trimtab.engines.drafter import CARD
from trimtab.errors import StoreError
from trimtab.levers import splitting
from trimtab.levers.speculation import conversations, eagle, watch
from trimtab.levers.speculation.lab import Card
from trimtab.store.artifacts import ArtifactStore
from trimtab.store.traces import TraceReader

SUMMARY = "watch a drafter's acceptance, and export training data for one"


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab speculation watch|export`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    watching = verbs.add_parser("watch", help="whether what is drafted is still taken; exit code 1: retrain drafter")
    watching.add_argument("--artifact", metavar="DIGEST", help="the drafter's artefact (default: the newest)")
    watching.add_argument("--model", default="", help="only calls that this model answered")
    watching.set_defaults(run=run_watch)
    exporting = verbs.add_parser("export", help="an EAGLE-3 training set and recipe for speculators")
    exporting.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    exporting.add_argument("--target", default="", help="the model to draft for; its tokens are written then")
    exporting.add_argument("--most", type=int, default=50_000, help="calls to read, the newest (default %(default)s)")
    exporting.set_defaults(run=run_export)
    for command in (watching, exporting):
        command.add_argument("--store", type=Path, default=Path(".trimtab"), metavar="DIR", help="the store's folder")
        command.add_argument("--json", action="store_true", help="print JSON instead of text")


def run_watch(args: argparse.Namespace) -> int:
    """Acceptance by agent as built and now."""
    seen = watch.watch(TraceReader(_there(args)).scan(bodies=False), _card(args).acceptance, args.model)
    if args.json:
        print(json.dumps([msgspec.to_builtins(each) | {"said": each.said} for each in seen]))
    else:
        for each in seen:
            print(f"{each.agent:<14} {each.calls:>7,} calls  built {each.built:.0%}  now {each.now:.0%}  {each.said}")
    return int(any(each.alarm for each in seen))


def run_export(args: argparse.Namespace) -> int:
    """Rows and recipe; only the fit split, so that what judges is not learnt from."""
    calls = conversations.spoken(splitting.fit(TraceReader(_there(args)).scan()), args.most)
    rows = eagle.export(calls, args.target, args.out)
    told = {"rows": rows, "calls": len(calls), "folder": str(args.out)}
    print(
        json.dumps(told)
        if args.json
        else f"{rows:,} conversations of {len(calls):,} calls in {args.out}; see {eagle.RECIPE}"
    )
    return 0


def _there(args: argparse.Namespace) -> Path:
    if not args.store.is_dir():
        raise StoreError(f"there is no store at {args.store}: name its folder with --store")
    store: Path = args.store
    return store


def _card(args: argparse.Namespace) -> Card:
    """The card of the artefact named, else of the newest that has one."""
    held = ArtifactStore(_there(args))
    if args.artifact:
        digests = [each.digest for each in held.list() if each.digest.startswith(args.artifact)]
        if len(digests) != 1:
            raise StoreError(
                f"{len(digests)} artefacts in {held.folder} begin with '{args.artifact}': name one of them"
            )
        found = [held.get(digests[0])]
    else:
        found = [each for each in held.list() if each.manifest.get("lever") == "speculation"]
        found.sort(key=lambda each: each.folder.stat().st_mtime)
    if not found or not (found[-1].folder / CARD).exists():
        raise StoreError(f"there is no drafter in {held.folder}: build one with  trimtab build speculation")
    try:
        return msgspec.json.decode((found[-1].folder / CARD).read_bytes(), type=Card)
    except msgspec.MsgspecError as error:
        raise StoreError(f"the card in {found[-1].folder} cannot be read ({error}): build the drafter again") from error
