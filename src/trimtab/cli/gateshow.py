"""What `trimtab gate` says of verdicts: those on results made elsewhere, those in the ledger, and all in flight."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import os
import sys
from pathlib import Path

import msgspec

from trimtab.cli import gatewords, storewords
from trimtab.errors import ConfigError
from trimtab.evals import calibration
from trimtab.evals.imported import paired
from trimtab.gate import fixed, offline, portfolio, record, report, scores, sides, sources, stale
from trimtab.store.ledger import Ledger
from trimtab.verdict import Decision, Verdict

CODES = {Decision.PROMOTE: 0, Decision.REJECT: 1, Decision.INCONCLUSIVE: 2}


def compare(args: argparse.Namespace) -> int:
    """A verdict by the tests with one look."""
    files = Path(args.baseline), Path(args.candidate)
    items = paired(scores.read(files[0], gatewords.choice(args)), scores.read(files[1], gatewords.choice(args)))
    names = {"baseline": args.baseline, "candidate": args.candidate, "suite": f"{len(items)} items"}
    criteria = gatewords.criteria(args)
    found = fixed.verdict(items, criteria, names, (_hash(files[0]), _hash(files[1])))
    ledger = Ledger(storewords.folder(args))
    entry = record.kept(ledger, found)
    if not entry:
        portfolio.check_suite(ledger.entries(), found.suite, criteria.uses)
        entry = record.keep(ledger, found)
    if args.report:
        report.write(found, args.report, entry)
    return say(found, entry, as_json=args.json)


def check(args: argparse.Namespace) -> int:
    """The decision's code while the verdict holds; 2 with the reason where something changed since."""
    entry, held = record.found(Ledger(storewords.folder(args)), args.id)
    before, after = sides.named(args.baseline, args.baseline_prompt), sides.named(args.candidate, args.candidate_prompt)
    reason = stale.changed(held, (before.fingerprint, after.fingerprint), (), offline.models_of(before, after))
    if reason:
        print(f"{entry[:12]} does not hold any more: {reason}")
        return CODES[Decision.INCONCLUSIVE]
    print(f"{entry[:12]} holds: {held.decision}")
    return CODES[held.decision]


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def say(verdict: Verdict, entry: str, *, as_json: bool) -> int:
    """Print a verdict; its exit code, also where nobody reads to the end."""
    if verdict.decision not in CODES:
        raise ConfigError(f"a verdict cannot be '{verdict.decision}': verify the ledger")
    text = report.markdown(verdict, entry)
    if as_json:
        text = msgspec.json.encode({"entry": entry, **msgspec.to_builtins(verdict)}).decode()
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # the marks are not in every terminal's character set
        print(text, flush=True)
    except BrokenPipeError:
        # Python would try once more at its end, and make an exit code of its own of that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CODES[verdict.decision]


def show(args: argparse.Namespace) -> int:
    entry, verdict = record.found(Ledger(storewords.folder(args)), args.id)
    return say(verdict, entry, as_json=args.json)


def portfolio_(args: argparse.Namespace) -> int:
    if not 0 < args.level < 1:
        raise ConfigError(f"--level {args.level:g} is outside (0, 1): 0.1 lets one in ten be wrong")
    flights = portfolio.ships(Ledger(storewords.folder(args)).entries(), args.level)
    if args.json:
        return storewords.print_json(
            [
                {"entry": f.entry, "candidate": f.verdict.candidate, "e_value": f.e_value, "ships": f.ships}
                for f in flights
            ]
        )
    for flight in flights:
        names = flight.verdict.names
        print(
            f"{'ships' if flight.ships else 'waits'}  {flight.entry[:12]}  evidence {flight.e_value:8.3g}  "
            f"{flight.verdict.decision:<12}  {names.get('candidate', flight.verdict.candidate[:12])}"
        )
    print(f"{sum(f.ships for f in flights)} of {len(flights)} candidates in flight ship together at {args.level:.0%}")
    return 0


def calibrate(args: argparse.Namespace) -> int:
    found = asyncio.run(calibration.measure(sources.judge_of(args.suite), calibration.read(args.labels)))
    args.output.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    for name, share in (("sensitivity", found.overall.sensitivity), ("specificity", found.overall.specificity)):
        print(f"{name} {share.good} of {share.n}, at least {share.low:.1%}")
    print(f"wrote {args.output}: give it to `trimtab gate run` with --calibration")
    return 0
