"""Folders built once and kept by content: whole or not there at all. Knows not what is in them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from trimtab.errors import DiskFull, StoreError

MANIFEST = "manifest.json"
ABANDONED = 3600.0  # seconds after which an unfinished folder is nobody's
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SPARE = 16 * 1024 * 1024  # bytes left free beside what a build is expected to need


class Manifest(msgspec.Struct, frozen=True):
    """Written last: the size in bytes of every file that makes the folder whole."""

    files: dict[str, int]


def cache_root(given: Path | None) -> Path:
    """`given`, else $TRIMTAB_CACHE, else ~/.cache/trimtab; models lie in its folder `engines`."""
    root = given or Path(os.environ.get("TRIMTAB_CACHE") or Path.home() / ".cache" / "trimtab")
    return root.expanduser().resolve() / "engines"


def is_whole(folder: Path) -> bool:
    """True if every file the manifest lists has its size; a killed or tampered build is not."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        return all((folder / name).stat().st_size == size for name, size in manifest.files.items())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return False


def keep(folder: Path, needed: int, fill: Callable[[Path], None]) -> Path:
    """`folder` if it is whole; else let `fill` write a fresh one beside it and move it into place in one step.

    `needed`: bytes the build is expected to take. Two builders at once do no harm: the first to finish wins.
    Errors: DiskFull with no trace left behind; StoreError if the place cannot be written.
    """
    if is_whole(folder):
        return folder
    with _guarded(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        free = shutil.disk_usage(folder.parent).free
        if free < needed + SPARE:
            raise _full(folder.parent, needed + SPARE, free)
        fresh = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
        try:
            fill(fresh)
            sizes = {path.name: path.stat().st_size for path in sorted(fresh.iterdir())}
            (fresh / MANIFEST).write_bytes(msgspec.json.encode(Manifest(sizes)))
            _move(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _move(fresh: Path, folder: Path) -> None:
    try:
        fresh.rename(folder)
    except OSError:
        if is_whole(folder):  # another builder was faster
            return
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)


def _sweep(parent: Path) -> None:
    """Remove what killed builders left."""
    for path in parent.glob(".building-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    """Operating-system errors while writing become one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise _full(folder.parent, None, None) from error
        raise StoreError(
            f"{folder.parent} cannot be written ({error.strerror}): set TRIMTAB_CACHE to a folder that can"
        ) from error


def _full(place: Path, needed: int | None, free: int | None) -> DiskFull:
    figures = "" if needed is None or free is None else f" ({needed >> 20} MB needed, {free >> 20} MB free)"
    return DiskFull(f"no room in {place}{figures}: free some, or set TRIMTAB_CACHE to a folder on another disk")
