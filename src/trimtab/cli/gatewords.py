"""The options that the verbs of `trimtab gate` share, and the criteria they come to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.evals.imported import Choice
    from trimtab.gate.criteria import Criteria


def sides(parser: argparse.ArgumentParser, form: str) -> None:
    parser.add_argument("--baseline", required=True, metavar="WHAT", help=f"what serves now: {form}")
    parser.add_argument("--candidate", required=True, metavar="WHAT", help="what would serve instead, likewise")


def prompts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--baseline-prompt", default="", metavar="FILE", help="system prompt in place of the items' own"
    )
    parser.add_argument("--candidate-prompt", default="", metavar="FILE", help="the same for the candidate")


def run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--suite", required=True, metavar="WHAT", help="file, arena:SPLIT[:COUNT[:SEED]] or inspect:FILE"
    )
    prompts(parser)
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="of the suite's judge: gate calibrate")
    parser.add_argument("--seed", type=int, default=0, help="draws the order of the clusters (default 0)")
    parser.add_argument("--concurrency", type=int, default=4, help="clusters asked at once (default 4)")
    parser.add_argument(
        "--again", type=int, default=0, metavar="N", help="ask the baseline twice for N clusters: its own flips"
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="the run's own folder (default: below the store's)")


def log_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metric", default="", metavar="NAME", help="of a log: inspect's scorer or lm-eval's metric")
    parser.add_argument("--part", default="", metavar="NAME", help="of a log: key of a score, or lm-eval's filter")
    parser.add_argument("--cluster", default="", metavar="KEY", help="of a log: key whose value is an item's cluster")
    parser.add_argument("--slice", default="", metavar="KEY", help="of a log: key whose value is an item's slice")


def choice(args: argparse.Namespace) -> Choice:
    from trimtab.evals.imported import Choice

    return Choice(args.metric, args.part, args.cluster, args.slice)


def criteria_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--criteria", type=Path, metavar="FILE", help="TOML file of what must hold; see docs/gate.md")
    parser.add_argument("--margin", type=float, help="loss of quality accepted (default 0.02: two points)")
    parser.add_argument("--alpha", type=float, help="how often a harmful candidate may pass (default 0.05)")


def criteria(args: argparse.Namespace) -> Criteria:
    """The criteria's file with the options laid over it. ConfigError for values that cannot be."""
    import msgspec

    from trimtab.errors import ConfigError
    from trimtab.gate import criteria

    held = criteria.read(args.criteria) if args.criteria else criteria.Criteria()
    given = {name: getattr(args, name) for name in ("margin", "alpha") if getattr(args, name) is not None}
    try:
        # Through the checks that the file goes through: `replace` makes none of types and ranges.
        return msgspec.convert({**msgspec.to_builtins(held), **given}, criteria.Criteria)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{error}; see docs/gate.md for what each value may be") from error
