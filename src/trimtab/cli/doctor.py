"""`trimtab doctor`: is everything in order for serving? One line a thing; exit code 1 if something is wrong."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=Path("trimtab.toml"), help="the file (default trimtab.toml)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from trimtab.gateway import doctor

    checks = doctor.examine(args.config)
    if args.json:
        print(msgspec.json.encode(checks).decode())
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{'ok   ' if check.ok else 'WRONG'}  {check.name:{width}}  {check.said}")
    return 0 if all(check.ok for check in checks) else 1
