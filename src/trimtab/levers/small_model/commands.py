"""`trimtab small_model`: the curated data for other trainers, and serving what was built."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

from trimtab import config
from trimtab.errors import ConfigError
from trimtab.store.traces import TraceFilter, TraceReader

SUMMARY = "export the curated traffic for other trainers, and serve what was built"


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab small_model export|serve`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    text = "write training files for Axolotl, LLaMA-Factory or Unsloth instead of training here"
    exporting = _verb(verbs, "export", export, text)
    exporting.add_argument("--format", required=True, help="axolotl, llama-factory or unsloth")
    exporting.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the files go")
    exporting.add_argument("--agent", help="only this agent's calls")
    told = "an option of the lever, as in TOML: success='success'; may be given several times"
    exporting.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help=told)
    exporting.add_argument("--json", action="store_true", help="print JSON instead of text")
    serving = _verb(verbs, "serve", serve, "serve a built model on this machine by the embedded engine")
    serving.add_argument("artifact", help="beginning of the artefact's digest")
    serving.add_argument("--port", type=int, default=8401, help="default 8401; 0: any free one")


def _verb(verbs: argparse._SubParsersAction, name: str, run: object, text: str) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    command: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    command.add_argument("--store", type=Path, metavar="DIR", help="the store's folder (default: the config's)")
    command.add_argument("--config", type=Path, metavar="FILE", help="default: trimtab.toml, where there is one")
    command.set_defaults(run=run)
    return command


def _store(args: argparse.Namespace) -> Path:
    path = args.config or Path("trimtab.toml")
    settings = config.read(path) if args.config or path.exists() else config.Settings()
    folder = args.store or Path(settings.store.folder)
    if not folder.is_dir():
        raise ConfigError(f"there is no store at {folder}: name it with --store, or record some calls first")
    return folder


def export(args: argparse.Namespace) -> int:
    from trimtab.levers import splitting
    from trimtab.levers.small_model import exports, options, prepare

    store, given = _store(args), dict[str, Any]()
    try:
        given |= tomllib.loads("\n".join(args.option))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"an --option is no TOML ({error}): write name=value, texts in quotes") from error
    its = options.read({**given, **({"agents": [args.agent]} if args.agent else {})})
    traces = TraceReader(store).scan(TraceFilter(agent=args.agent))
    data = prepare.prepared(splitting.fit(traces), its)
    files = [str(path) for path in exports.write(args.format, data, its, args.output)]
    if args.json:
        print(json.dumps({"files": files, "data": data.funnel.rows}))
        return 0
    for row in data.funnel.rows:
        print(f"{row['step']:<24} {row['in']:>8,} → {row['out']:>8,}  {row['left out']}")
    print("\n".join(files))
    return 0


def serve(args: argparse.Namespace) -> int:
    """In this process's place: the engine, under the name that `apply` gave the model."""
    from trimtab.levers.small_model import lab
    from trimtab.store.artifacts import ArtifactStore

    store = ArtifactStore(_store(args))
    found = [each for each in store.list() if each.digest.startswith(args.artifact)]
    if len(found) != 1:
        raise ConfigError(f"{len(found)} artefacts begin with '{args.artifact}': give more of the digest")
    artifact = store.get(found[0].digest)
    folder = artifact.folder / lab.MODEL
    if not folder.is_dir():
        raise ConfigError(f"artefact {artifact.digest[:12]} holds label heads alone: the gateway's step serves those")
    words = ["engine", "serve", f"{lab.served_name(artifact)}={folder}", "--port", str(args.port)]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "trimtab", *words])
