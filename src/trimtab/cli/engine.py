"""`trimtab engine`: serve models on this machine's CPU."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimtab.errors import require

if TYPE_CHECKING:
    from trimtab.engines.served import Served


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab engine serve MODEL [MODEL ...]`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    serve = verbs.add_parser("serve", help="an OpenAI-compatible server", description=run_serve.__doc__)
    serve.add_argument("models", nargs="+", metavar="[NAME=]NAME_OR_DIR", help="a shipped model, a folder, a .gguf")
    serve.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    serve.add_argument("--port", type=int, default=8401, help="0: any free one; default: %(default)s")
    serve.add_argument("--precision", choices=["bf16", "f32", "int8", "int4"], default="bf16", help="of the weights")
    serve.add_argument("--threads", type=_positive, default=0, help="for each model; default: every core")
    serve.add_argument("--max-seqs", type=_positive, default=16, help="answers made at once; default: %(default)s")
    serve.add_argument("--kv-mib", type=_positive, default=256, help="ceiling of a model's key-value cache, in MiB")
    serve.add_argument("--cache", default="", metavar="DIR", help="where built models are kept")
    serve.add_argument("--draft", default="", metavar="NAME_OR_DIR", help="a drafter for every model, or: lookup")
    serve.add_argument("--draft-lengths", default="", metavar="1:8,2:4,...", help="tokens drafted by answers at once")
    serve.add_argument("--no-prefix-reuse", action="store_true", help="compute every prompt whole")
    serve.add_argument("--json", action="store_true", help="when ready, print one JSON line with url and models")
    serve.add_argument("--attached", action="store_true", help="end when standard input closes")
    serve.set_defaults(run=run_serve)


def run_serve(args: argparse.Namespace) -> int:
    """Serve models, OpenAI-compatible, until Ctrl-C."""
    require("engine", "openvino_genai", "tokenizers", "jinja2", "starlette")
    from trimtab.engines.serve import Settings, serve

    settings = Settings(
        models=tuple(args.models),
        host=args.host,
        port=args.port,
        precision=args.precision,
        threads=args.threads,
        cache=args.cache,
        max_seqs=args.max_seqs,
        kv_mib=args.kv_mib,
        draft=args.draft,
        draft_lengths=args.draft_lengths,
        prefix_reuse=not args.no_prefix_reuse,
        attached=args.attached,
    )
    return serve(settings, _announce_json if args.json else _announce)


def _announce(url: str, models: Sequence[Served]) -> None:
    for served in models:
        ready = served.worker.ready
        size = f"{ready.precision}, context {served.context} tokens, cache {ready.kv_bytes >> 20} MiB" if ready else ""
        chat = "" if served.chats else ", no chat template: text completions only"
        print(f"model {served.name}: {size}{chat}", flush=True)
    print(f"ready: {url}", flush=True)


def _announce_json(url: str, models: Sequence[Served]) -> None:
    print(json.dumps({"url": url, "models": [served.name for served in models]}), flush=True)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
