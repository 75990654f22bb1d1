"""`trimtab gate run`: from the options to a verdict in the ledger, with a live view on the way."""

from __future__ import annotations

import argparse
import sys

import msgspec

from trimtab.cli import gatewords, storewords
from trimtab.cli.gateshow import say
from trimtab.cli.gateview import View
from trimtab.gate import drifting, forecast, inspected, offline, portfolio, record, report, scaling, sides, sources
from trimtab.store.ledger import Ledger

STOPPED = 130


def run(args: argparse.Namespace) -> int:
    """The exit code of the decision; after Ctrl-C, 130 and how to go on."""
    if args.suite.startswith(inspected.SUITE):
        return _inspect(args)
    plan, ledger = _plan(args), Ledger(storewords.folder(args))
    if not (plan.folder / "verdict.json").exists():
        portfolio.check_suite(ledger.entries(), plan.source.suite.digest, plan.criteria.uses)
    for line in forecast.lines(forecast.of(plan.source.suite, plan.criteria, plan.scale)):
        print(line, file=sys.stderr)
    try:
        with View(f"{args.candidate} against {args.baseline}") as view:
            found = offline.run(plan, view.update)
    except KeyboardInterrupt:
        print(f"trimtab: stopped; the same command goes on from {plan.folder}", file=sys.stderr)
        return STOPPED
    entry = record.keep(ledger, found)
    drift = drifting.kept(plan.folder)
    written = report.write(found, plan.folder / report.REPORT, entry, drift)
    if args.report:
        report.write(found, args.report, entry, drift)
    print(f"report: {written}", file=sys.stderr)
    return say(found, entry, as_json=args.json)


def _inspect(args: argparse.Namespace) -> int:
    """A suite of inspect_ai: its own logs in the run's folder, no live view."""
    store = storewords.folder(args)
    task = inspected.Task(
        name=args.suite.removeprefix(inspected.SUITE),
        choice=gatewords.choice(args),
        criteria=gatewords.criteria(args),
        folder=args.folder or store / "gate" / "inspect",
        seed=args.seed,
        at_once=args.concurrency,
    )
    candidate = sides.named(args.candidate)
    names = {"baseline": args.baseline, "candidate": args.candidate, "suite": args.suite}
    ledger, before = Ledger(store), inspected.baseline(task, args.baseline)
    portfolio.check_suite(ledger.entries(), inspected.suite_of(task, before[0]), task.criteria.uses)
    found = inspected.verdict(task, before, candidate, names)
    entry = record.keep(ledger, found)
    if args.report:
        report.write(found, args.report, entry)
    return say(found, entry, as_json=args.json)


def _plan(args: argparse.Namespace) -> offline.Plan:
    criteria, source = gatewords.criteria(args), sources.named(args.suite)
    calibration = scaling.read(args.calibration) if args.calibration else None
    store = storewords.folder(args)
    plan = offline.Plan(
        baseline=sides.named(args.baseline, args.baseline_prompt),
        candidate=sides.named(args.candidate, args.candidate_prompt),
        source=source,
        criteria=criteria,
        folder=args.folder or store,
        seed=args.seed,
        concurrency=args.concurrency,
        scale=scaling.of(source.suite, source.judge, criteria, calibration),
        artifacts=store if (store / "artifacts").is_dir() else None,
        again=args.again,
    )
    if args.folder:
        return plan
    terms = offline.terms(plan)
    return msgspec.structs.replace(plan, folder=record.folder_of(store, terms))
