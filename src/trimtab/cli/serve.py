"""`trimtab serve`: the gateway in the foreground."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.config import Settings
    from trimtab.gateway.chain import Call
    from trimtab.gateway.chat import Services
    from trimtab.gateway.trial import Watch


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=Path("trimtab.toml"), help="the file (default trimtab.toml)")
    parser.add_argument("--host", help="address to listen on (default: the file's gateway.host)")
    parser.add_argument("--port", type=int, help="port to listen on, 0 for any free one (default: the file's)")
    parser.add_argument("--workers", type=int, help="processes that serve (default: the file's gateway.workers)")
    parser.add_argument("--json", action="store_true", help="print one JSON line when ready: url and models")
    parser.add_argument("--attached", action="store_true", help="also end when standard input closes")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from trimtab import config
    from trimtab.gateway import server

    logging.basicConfig(level=logging.WARNING, format="trimtab: %(message)s")
    settings = config.read(args.config)
    deployment = settings.deployment()
    host = args.host or settings.gateway.host
    doors = server.open_doors(settings, host, settings.gateway.port if args.port is None else args.port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{doors.public.getsockname()[1]}/v1"
    admin = "http://{}:{}/admin".format(*doors.admin_address) if doors.admin_address else ""

    def ready() -> None:
        if args.json:
            print(json.dumps({"url": url, "models": list(deployment.models), "admin": admin}), flush=True)
            return
        print(f"serving {', '.join(deployment.models)} at {url}", flush=True)
        print(f"admin paths at {admin or 'no address'}", flush=True)
        kept = settings.store
        print(f"recording '{kept.record}' into {kept.folder}; Ctrl-C drains and stops", flush=True)

    lifeline = sys.stdin.fileno() if args.attached else None
    service = server.Service(
        settings, doors, ready, args.config, lifeline, watching=functools.partial(_watch, settings)
    )
    workers = args.workers or settings.gateway.workers
    if workers > 1:
        from trimtab.gateway.supervisor import Supervisor

        Supervisor(service, workers).run()
    else:
        server.run(service)
    return 0


def _watch(settings: Settings, services: Services, tail: Call) -> Watch:
    """The one upward door for rollouts: the gateway itself knows no statistics."""
    from trimtab.rollout.door import Door

    return Door(Path(settings.store.folder), services, tail)
