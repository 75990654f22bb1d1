"""What people may know of a virtual key: money in dollars, times in ISO 8601; never a secret or its hash."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

from trimtab.gateway.keys import Key
from trimtab.gateway.ledger import Ledger


def of(folder: Path, keys: list[Key]) -> list[dict[str, Any]]:
    """State, limits and use of each of `keys`, ready for JSON."""
    if not keys:
        return []
    ledger, now = Ledger(folder), time.time_ns()
    try:
        return [
            {
                "name": key.name,
                "tenant": key.tenant,
                "state": str(key.state(now)),
                "models": list(key.models),
                "limits": _limits(key),
                "used": _in_dollars(ledger.used(key)),
                "created": _time(key.created_ns),
                "expires": _time(key.expires_ns),
            }
            for key in keys
        ]
    finally:
        ledger.close()


def _limits(key: Key) -> dict[str, Any]:
    wanted = {name: getattr(key, name) for name in ("requests_per_minute", "tokens_per_minute")}
    wanted |= {f"{name}_usd": getattr(key, f"{name}_nanodollars") for name in ("day", "month", "run")}
    found = {name: held for name, held in wanted.items() if held is not None}
    return {name: held / 1e9 if name.endswith("_usd") else held for name, held in found.items()}


def _in_dollars(used: Any) -> dict[str, Any]:
    pairs = ((name, getattr(used, name)) for name in used.__struct_fields__)
    return {
        name.replace("nanodollars", "usd"): held / 1e9 if name.endswith("nanodollars") else held for name, held in pairs
    }


def _time(at_ns: int | None) -> str | None:
    if at_ns is None:
        return None
    return datetime.datetime.fromtimestamp(at_ns / 1e9, datetime.UTC).isoformat(timespec="seconds")
