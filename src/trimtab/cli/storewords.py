"""What the verbs of `trimtab traces` share: which store, since when, JSON, a bar on the error output."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from trimtab import config
from trimtab.errors import ConfigError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def verb(verbs: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    """The parser of one verb, with the options that say which store."""
    command: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    command.add_argument("--store", type=Path, metavar="DIR", help="the store's folder (default: the config's)")
    command.add_argument("--config", type=Path, metavar="FILE", help="default: trimtab.toml, where there is one")
    command.set_defaults(run=run)
    return command


def settings(args: argparse.Namespace) -> config.Settings:
    default = Path("trimtab.toml")
    path = args.config or (default if default.exists() else None)
    return config.read(path) if path else config.Settings()


def folder(args: argparse.Namespace) -> Path:
    return args.store or Path(settings(args).store.folder)


def there(args: argparse.Namespace) -> Path:
    """The folder of a store that is there already; ConfigError where it is not."""
    held = folder(args)
    if not held.is_dir():
        raise ConfigError(f"there is no store at {held}: name its folder with --store")
    return held


def since_ns(age: str | None) -> int | None:
    """Unix ns of so long ago; ConfigError where `age` is none."""
    if age is None:
        return None
    match = re.fullmatch(r"(\d{1,6})([smhd])", age)
    if match is None:
        raise ConfigError(f"--since {age} is no age: give a number with s, m, h or d, such as 2h")
    return time.time_ns() - int(match[1]) * _UNITS[match[2]] * 10**9


@contextmanager
def bar(text: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar where the error output is a terminal; call what it gives with the work done and the whole."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as drawn:
        task = drawn.add_task(text, total=None)
        yield lambda done, total: drawn.update(task, completed=done, total=total)


def print_json(value: object) -> int:
    print(msgspec.json.encode(value).decode())
    return 0
