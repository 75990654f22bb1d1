"""`trimtab gate`: whether a candidate may take the baseline's place. Exit codes are the decision, for use in CI."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from trimtab.cli import gatewords, storewords
from trimtab.errors import TrimtabError

ERROR = 3
_SIDE = "TOML file, FILE#model or URL#model"
_RESULTS = "results: CSV or JSON lines with id and score, or a log of inspect or lm-eval"


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab gate run|compare|show|check|portfolio|calibrate`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    running = storewords.verb(verbs, "run", _of("gaterun", "run"), "ask both for a suite, and stop when it is sure")
    gatewords.sides(running, _SIDE)
    gatewords.run_options(running)
    comparing = storewords.verb(verbs, "compare", _of("gateshow", "compare"), "a verdict on results made elsewhere")
    gatewords.sides(comparing, _RESULTS)
    for command in (running, comparing):
        gatewords.log_options(command)
        gatewords.criteria_options(command)
        command.add_argument("--report", type=Path, metavar="FILE", help="also write the Markdown report there")
    showing = storewords.verb(verbs, "show", _of("gateshow", "show"), "a verdict of the ledger as a report")
    checking = storewords.verb(verbs, "check", _of("gateshow", "check"), "whether a verdict still holds")
    gatewords.sides(checking, _SIDE)
    gatewords.prompts(checking)
    for command in (showing, checking):
        command.add_argument("id", nargs="?", default="", help="beginning of the entry's hash (default: the newest)")
    flying = storewords.verb(verbs, "portfolio", _of("gateshow", "portfolio_"), "which candidates in flight may ship")
    flying.add_argument("--level", type=float, default=0.1, help="share of them that may be wrong (default 0.1)")
    for command in (running, comparing, showing, flying):
        command.add_argument("--json", action="store_true", help="print JSON instead of text")
    measuring = verbs.add_parser("calibrate", help="how often a suite's judge is right, by labelled answers")
    measuring.add_argument("--suite", required=True, metavar="FILE", help="the suite whose judge it is")
    measuring.add_argument("--labels", type=Path, required=True, metavar="FILE", help="answers with right or wrong")
    measuring.add_argument("--output", type=Path, required=True, metavar="FILE", help="where the calibration goes")
    measuring.set_defaults(run=_of("gateshow", "calibrate"))


def _of(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """The verb `name` of a module that is imported when it is called. The codes 0, 1 and 2 are decisions here: an error
    of any kind is 3, a fault in our own code too."""

    def run(args: argparse.Namespace) -> int:
        sys.excepthook = _crashed
        try:
            verb = getattr(importlib.import_module(f"trimtab.cli.{module}"), name)
            return int(verb(args))
        except TrimtabError as error:
            print(f"trimtab: {error}", file=sys.stderr)
            return ERROR
        except BrokenPipeError:
            return ERROR

    return run


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # Python itself would end with 1, which says 'reject'.
    sys.__excepthook__(kind, error, trace)
    sys.exit(ERROR)
