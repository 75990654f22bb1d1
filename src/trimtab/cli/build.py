"""`trimtab build`: fit a lever on recorded traces, and write the candidate that `gate` and `rollout` take."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from trimtab.cli import leverwords, storewords


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab build LEVER`."""
    leverwords.options(parser)
    text = "also write the candidate there: the configuration's Deployment with the lever in it"
    parser.add_argument("--candidate", type=Path, metavar="FILE", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from trimtab.levers import candidate, finding

    lever, store = leverwords.lever(args), storewords.there(args)
    artifact = lever.build(leverwords.traces(args), store)
    serve: tuple[str, ...] = ()
    side = str(args.candidate)
    if args.candidate:
        settings = storewords.settings(args)
        before = settings.deployment()
        applied = lever.apply(before, artifact)
        # Of a file that serves several models the gate wants to know which one to ask for.
        side += f"#{before.models[0]}" if len(applied.models) > 1 else ""
        args.candidate.write_text(candidate.text(applied, settings.price_table()), encoding="utf-8")
        serve = finding.serving(lever.name, applied, artifact)
    if args.json:
        return storewords.print_json(artifact.manifest | {"artifact": artifact.digest, "serve": serve})
    print(f"artefact {artifact.digest[:12]} in {artifact.folder}")
    for name, held in artifact.manifest.items():
        print(f"  {name}: {held}")
    if serve:
        print(f"serve it: trimtab engine serve {shlex.join(serve)}")
    if args.candidate:
        print(f"candidate: {args.candidate}; prove it with  trimtab gate run --candidate {side}")
    return 0
