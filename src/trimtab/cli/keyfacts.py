"""How people write the limits of a virtual key and read what it is: dollars, ages, ISO 8601; never a secret."""

from __future__ import annotations

import argparse
import datetime
import re
import time
from pathlib import Path
from typing import Any

from trimtab.gateway.keys import Key
from trimtab.gateway.ledger import Ledger

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


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


def seconds(age: str) -> int:
    """'30m', '12h' or '90d' in seconds."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", age)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{age}' is no age: give a number with s, m, h or d, such as 12h")
    return int(match[1]) * _UNITS[match[2]]


def number(text: str) -> int:
    """A whole number above 0; 0 for 'none'."""
    if text == "none":
        return 0
    if not re.fullmatch(r"[1-9]\d{0,14}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no limit: give a whole number above 0, or 'none'")
    return int(text)


def nanodollars(text: str) -> int:
    """US dollars in nano-dollars; 0 for 'none'."""
    if text == "none":
        return 0
    if not re.fullmatch(r"\d{1,6}(\.\d{1,9})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no budget: give US dollars above 0, such as 2.50, or 'none'")
    return round(float(text) * 1e9)
