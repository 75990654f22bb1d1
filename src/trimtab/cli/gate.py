"""`trimtab gate`: whether a candidate may take the baseline's place. Exit codes are the decision, for use in CI."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from trimtab.cli import gatewords, storewords
from trimtab.errors import TrimtabError

ERROR = 3
Verb = Callable[[argparse.Namespace], int]


def add(parser: argparse.ArgumentParser) -> None:
    """`trimtab gate run|compare|show|portfolio|calibrate`."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    running = storewords.verb(
        verbs, "run", _guarded(_run), "ask both deployments for a suite, and stop when it is sure"
    )
    gatewords.sides(running, "TOML file, FILE#model or URL#model")
    gatewords.run_options(running)
    comparing = storewords.verb(verbs, "compare", _guarded(_compare), "a verdict on results made elsewhere")
    gatewords.sides(comparing, "results: CSV or JSON lines with id and score, or a log of inspect or lm-eval")
    showing = storewords.verb(verbs, "show", _guarded(_show), "a verdict of the ledger as a report")
    showing.add_argument(
        "id", nargs="?", default="", help="beginning of the entry's hash (default: the newest verdict)"
    )
    flying = storewords.verb(verbs, "portfolio", _guarded(_portfolio), "which of the candidates in flight may ship")
    flying.add_argument("--level", type=float, default=0.1, help="share of them that may be wrong (default 0.1)")
    for command in (running, comparing):
        gatewords.log_options(command)
        gatewords.criteria_options(command)
        command.add_argument("--report", type=Path, metavar="FILE", help="also write the Markdown report there")
    for command in (running, comparing, showing, flying):
        command.add_argument("--json", action="store_true", help="print JSON instead of text")
    measuring = verbs.add_parser("calibrate", help="how often a suite's judge is right, by labelled answers")
    measuring.add_argument("--suite", required=True, metavar="FILE", help="the suite whose judge it is")
    measuring.add_argument("--labels", type=Path, required=True, metavar="FILE", help="answers with right or wrong")
    measuring.add_argument("--output", type=Path, required=True, metavar="FILE", help="where the calibration goes")
    measuring.set_defaults(run=_guarded(_calibrate))


def _guarded(verb: Verb) -> Verb:
    """The codes 0, 1 and 2 are decisions here: an error of any kind is 3."""

    def run(args: argparse.Namespace) -> int:
        try:
            return verb(args)
        except TrimtabError as error:
            print(f"trimtab: {error}", file=sys.stderr)
            return ERROR

    return run


def _run(args: argparse.Namespace) -> int:
    from trimtab.cli import gaterun

    return gaterun.run(args)


def _compare(args: argparse.Namespace) -> int:
    from trimtab.cli import gaterun

    return gaterun.compare(args)


def _show(args: argparse.Namespace) -> int:
    from trimtab.cli.gaterun import say
    from trimtab.gate import record
    from trimtab.store.ledger import Ledger

    entry, verdict = record.found(Ledger(storewords.folder(args)), args.id)
    return say(verdict, entry, as_json=args.json)


def _portfolio(args: argparse.Namespace) -> int:
    from trimtab.errors import ConfigError
    from trimtab.gate import portfolio
    from trimtab.store.ledger import Ledger

    if not 0 < args.level < 1:
        raise ConfigError(f"--level {args.level:g} is outside (0, 1): 0.1 lets one in ten be wrong")
    flights = portfolio.ships(Ledger(storewords.folder(args)).entries(), args.level)
    if args.json:
        held = [
            {"entry": f.entry, "candidate": f.verdict.candidate, "e_value": f.e_value, "ships": f.ships}
            for f in flights
        ]
        return storewords.print_json(held)
    for flight in flights:
        names = flight.verdict.names
        print(
            f"{'ships' if flight.ships else 'waits'}  {flight.entry[:12]}  evidence {flight.e_value:8.3g}  "
            f"{flight.verdict.decision:<12}  {names.get('candidate', flight.verdict.candidate[:12])}"
        )
    print(f"{sum(f.ships for f in flights)} of {len(flights)} candidates in flight ship together at {args.level:.0%}")
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    import msgspec

    from trimtab.evals import calibration
    from trimtab.gate import sources

    judge = sources.judge_of(args.suite)
    found = asyncio.run(calibration.measure(judge, calibration.read(args.labels)))
    args.output.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    for name, share in (("sensitivity", found.overall.sensitivity), ("specificity", found.overall.specificity)):
        print(f"{name} {share.good} of {share.n}, at least {share.low:.1%}")
    print(f"wrote {args.output}: give it to `trimtab gate run` with --calibration")
    return 0
