"""The command line: finds the noun's file, parses, calls, prints one clear line on an error."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from trimtab import __version__
from trimtab.errors import TrimtabError

# One file a noun in this folder; each has `add(subparsers)`, which sets `run` to a function of the parsed arguments.
NOUNS = {
    "demo": "run the dealership end to end: engine, gateway, agents, and where money and seconds went",
    "serve": "run the gateway in front of any OpenAI-compatible endpoint",
    "doctor": "check the configuration, endpoints, prices, clock, store and disk",
    "traces": "list, show, export, import, reprice and erase what was recorded",
    "keys": "make, list and end the virtual keys that limit who may call and spend",
    "audit": "where money and seconds go in anyone's logs, and what each lever would save",
    "estimate": "what a lever would have saved on the recorded traces, before anything is built",
    "build": "fit a lever on the recorded traces, and write the candidate that has it",
    "gate": "prove that a candidate is no worse than what serves now, before it goes live",
    "rollout": "let a proven candidate take the traffic step by step, and take it back",
    "ledger": "list and verify the record of estimates, verdicts, rollouts and savings",
    "engine": "serve models on this machine's CPU, OpenAI-compatible",
    "bench": "measure where the gains come from: size, quantization, speculation, batching, reuse",
    "arena": "run the dealership's tasks against any OpenAI-compatible endpoint",
}


# Where the codes below are decisions, a command line that cannot be understood has another than argparse's 2.
USAGE_ERROR = {"gate": 3}


def parser(noun: str | None) -> argparse.ArgumentParser:
    """The whole parser, with only `noun`'s own file imported (all of them for None)."""
    top = argparse.ArgumentParser(prog="trimtab")
    top.description = "Makes an LLM service cheaper and faster, and proves that its answers did not get worse."
    top.add_argument("--version", action="version", version=f"trimtab {__version__}")
    nouns = top.add_subparsers(dest="noun", metavar="COMMAND", required=True)
    for name, text in NOUNS.items():
        command = nouns.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if noun in (None, name):
            importlib.import_module(f"trimtab.cli.{name}").add(command)
    if noun not in NOUNS:
        _add_levers(nouns)
    return top


def _add_levers(nouns: Any) -> None:
    """The commands that levers have of their own."""
    finding = importlib.import_module("trimtab.levers.finding")
    for name, text in finding.with_commands().items():
        command = nouns.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        finding.commands(name).add(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, the error's `exit_code` with one line on stderr otherwise, 130 on Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    noun = next((word for word in words if not word.startswith("-")), None)
    try:
        args = parser(noun or "").parse_args(words)
    except SystemExit as end:
        raise SystemExit(USAGE_ERROR.get(noun or "", end.code) if end.code == 2 else end.code) from None
    try:
        return int(args.run(args) or 0)
    except TrimtabError as error:
        print(f"trimtab: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("trimtab: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
