"""Snapshots of large indexes: checked files that spare the next start the building.

Small indexes are read from the rows, which takes no longer.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from trimtab.levers.cache.index import Index

FORMAT = 1


class Manifest(msgspec.Struct, frozen=True):
    """`seen` is the last row taken in; `graphs` the digest and the number of vectors of each partition's file."""

    format: int
    encoder: str
    dims: int
    seen: int
    graphs: dict[int, tuple[str, int]]


def save(folder: Path, encoder: str, indexes: Mapping[int, Index], seen: int) -> None:
    """Write the graphs among `indexes` below `folder`; the manifest last and in one step."""
    graphs: dict[int, tuple[str, int]] = {}
    dims = 0
    for partition, index in indexes.items():
        if not index.is_graph:
            continue
        with _replacing(_file(folder, encoder, partition)) as path:
            index.save(path)
            graphs[partition] = _digest(path), len(index)
        dims = index.dims
    with _replacing(folder / f"index-{encoder}.json") as path:
        path.write_bytes(msgspec.json.encode(Manifest(FORMAT, encoder, dims, seen, graphs)))


def load(folder: Path, encoder: str, dims: int) -> tuple[dict[int, Index], int]:
    """The indexes saved, and the last row they know; nothing and 0 unless every file is the one that was written."""
    try:
        manifest = msgspec.json.decode((folder / f"index-{encoder}.json").read_bytes(), type=Manifest)
        if (manifest.format, manifest.encoder, manifest.dims) != (FORMAT, encoder, dims):
            return {}, 0
        found: dict[int, Index] = {}
        for partition, (digest, count) in manifest.graphs.items():
            path = _file(folder, encoder, partition)
            if _digest(path) != digest:
                return {}, 0
            found[partition] = Index.load(path, dims)
            if len(found[partition]) != count:
                return {}, 0
    except (OSError, msgspec.MsgspecError, RuntimeError, ValueError):
        return {}, 0
    return found, manifest.seen


def _file(folder: Path, encoder: str, partition: int) -> Path:
    return folder / f"index-{encoder}-{partition}.usearch"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place at the end, once it is on the disk."""
    handle, name = tempfile.mkstemp(prefix=".index-", dir=path.parent)
    os.close(handle)
    fresh = Path(name)
    try:
        yield fresh
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
