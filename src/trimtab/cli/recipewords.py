"""`trimtab rollout recipe`: the options, and the three texts printed or written."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from trimtab.cli import storewords
from trimtab.errors import ConfigError
from trimtab.rollout import recipe
from trimtab.store.artifacts import ArtifactStore


def options(command: argparse.ArgumentParser) -> None:
    command.add_argument("artifact", help="an artefact's digest, or the beginning of it, or a checkpoint folder")
    command.add_argument("--target", choices=["vllm"], default="vllm", help="what serves it (default %(default)s)")
    command.add_argument("--name", default="", help="served as (default: as the artefact says)")
    drafting = command.add_mutually_exclusive_group()
    drafting.add_argument("--draft", metavar="MODEL", help="a small model that drafts")
    drafting.add_argument("--eagle", metavar="MODEL", help="an EAGLE-3 head that drafts")
    drafting.add_argument("--lookup", action="store_true", help="draft by n-grams of the prompt")
    command.add_argument("--tokens", type=int, default=4, help="drafted at a time (default %(default)s)")
    command.add_argument("--lora", action="append", default=[], metavar="NAME=DIR", help="an adapter; several times")
    command.add_argument("--no-prefix-caching", action="store_true", help="compute every prompt anew")
    command.add_argument("--context", type=int, default=0, help="tokens of prompt and answer (default: the model's)")
    command.add_argument("--max-seqs", type=int, default=0, help="answers made at once (default: vLLM's)")
    command.add_argument("--gpus", type=int, default=1, help="0: on CPUs (default %(default)s)")
    command.add_argument("--port", type=int, default=recipe.PORT, help="default %(default)s")
    command.add_argument("--image", default="", help="container image")
    command.add_argument("--check", type=Path, metavar="PYTHON", help="ask the vLLM of this Python whether it takes it")
    command.add_argument(
        "--write", type=Path, metavar="DIR", help="write serve.sh, compose.yaml, kubernetes.yaml there"
    )


def run(args: argparse.Namespace) -> int:
    folder, said = _found(args)
    made = recipe.of(
        recipe.Wanted(
            model=folder,
            name=args.name or str(said.get("served as") or folder.name),
            speculative=_speculative(args),
            loras=tuple(_lora(text) for text in args.lora),
            prefix_caching=not args.no_prefix_caching,
            context=args.context,
            most=args.max_seqs,
            gpus=args.gpus,
            port=args.port,
            image=args.image,
        )
    )
    version = recipe.checked(made, args.check) if args.check else ""
    files = {"serve.sh": made.command, "compose.yaml": made.compose, "kubernetes.yaml": made.kubernetes}
    if args.write:
        args.write.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (args.write / name).write_text(text, encoding="utf-8")
    if args.json:
        print(json.dumps({"words": made.words, "checked by": version, **files}))
        return 0
    for name, text in files.items():
        print(f"{args.write / name}" if args.write else f"# {name}\n{text}")
    print(f"taken by the parser of vLLM {version}" if version else "not checked: name a Python with vLLM by --check")
    return 0


def _found(args: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """The folder of the model, and what its manifest says."""
    path = Path(args.artifact).expanduser()
    if path.is_dir():
        return path.absolute(), {}
    held = ArtifactStore(storewords.folder(args))
    found = [each.digest for each in held.list() if each.digest.startswith(args.artifact)]
    if len(found) != 1:
        raise ConfigError(f"'{args.artifact}' names {len(found)} artefacts and no folder: see  trimtab build")
    artifact = held.get(found[0])
    return artifact.folder.absolute(), dict(artifact.manifest)


def _speculative(args: argparse.Namespace) -> dict[str, Any] | None:
    if args.lookup:
        return {"method": "ngram", "num_speculative_tokens": args.tokens, "prompt_lookup_max": 4}
    if args.eagle:
        return {"method": "eagle3", "model": args.eagle, "num_speculative_tokens": args.tokens}
    if args.draft:
        return {"method": "draft_model", "model": args.draft, "num_speculative_tokens": args.tokens}
    return None


def _lora(text: str) -> tuple[str, str]:
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise ConfigError(f"--lora '{text}' is no adapter: write NAME=DIR")
    return name, folder
