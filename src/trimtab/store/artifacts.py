"""Artefacts: folders addressed by their content, so that what is served is provably what was built and gated."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from trimtab.errors import StoreError
from trimtab.lever import Artifact
from trimtab.store import schema

_MANIFEST = "manifest.json"
_FILES = "files"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20


def digest_of(folder: Path) -> str:
    """SHA-256 over the sorted relative paths of the folder's files, each with its length and bytes.

    Raises StoreError on a link or anything else that is not a plain file: its content would lie outside the folder.
    """
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StoreError(f"{path} is not a plain file: put a copy of what it points to in its place")
        if path.is_file():
            name = path.relative_to(folder).as_posix().encode()
            total.update(b"%d:%s:%d:" % (len(name), name, path.stat().st_size))
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    total.update(chunk)
    return total.hexdigest()


class ArtifactStore:
    """Artefacts under `folder`/artifacts/DIGEST. Safe with several processes: each appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "artifacts"

    def put(self, source: Path, manifest: Mapping[str, object]) -> Artifact:
        """Copy the files of `source` in and give back the artefact; the same files twice are one artefact, with the
        manifest it had first. Raises StoreError or DiskFull."""
        if not source.is_dir():
            raise StoreError(f"{source} is no folder: an artefact is a folder of files")
        temporary: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
            shutil.copytree(source, temporary / _FILES, symlinks=True)
            # The digest is taken of the copy: the source may change under way.
            digest = digest_of(temporary / _FILES)
            (temporary / _MANIFEST).write_bytes(msgspec.json.encode(dict(manifest)))
            if not (self.folder / digest).exists():
                _sync(temporary)
                self._publish(temporary, digest)
        except (OSError, shutil.Error) as error:
            raise schema.refusal(_cause(error), self.folder) from error
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
        return self.get(digest)

    def _publish(self, temporary: Path, digest: str) -> None:
        try:
            temporary.rename(self.folder / digest)
        except OSError:
            # Another process was first with the same content.
            if not (self.folder / digest).exists():
                raise

    def get(self, digest: str) -> Artifact:
        """The artefact of that digest, every byte of it checked; StoreError where it is missing or altered."""
        place = self.folder / digest
        if not _DIGEST.fullmatch(digest) or not place.is_dir():
            raise StoreError(f"no artefact '{digest}' in {self.folder}: build it again, or name one of those there")
        try:
            found = digest_of(place / _FILES)
        except OSError as error:
            raise schema.refusal(error, place) from error
        if found != digest:
            raise StoreError(
                f"artefact {digest[:12]} in {self.folder} was altered: delete its folder and build it again"
            )
        return Artifact(digest=digest, folder=place / _FILES, manifest=self._manifest(place))

    def list(self) -> list[Artifact]:
        """Every artefact by digest, unchecked: `get` checks."""
        if not self.folder.is_dir():
            return []
        places = sorted(place for place in self.folder.iterdir() if _DIGEST.fullmatch(place.name))
        return [Artifact(digest=place.name, folder=place / _FILES, manifest=self._manifest(place)) for place in places]

    def remove(self, digest: str) -> None:
        """Delete the artefact of that digest; no harm where it is gone already."""
        place = self.folder / digest
        if not _DIGEST.fullmatch(digest):
            raise StoreError(f"'{digest}' is no digest of an artefact: see the folders of {self.folder}")
        try:
            # Renamed first, so that nobody finds half of it.
            shutil.rmtree(place.rename(place.with_name(f".old-{digest}")))
        except FileNotFoundError:
            return
        except OSError as error:
            raise schema.refusal(error, place) from error

    def _manifest(self, place: Path) -> dict[str, object]:
        try:
            return msgspec.json.decode((place / _MANIFEST).read_bytes(), type=dict[str, object])
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreError(f"the manifest of {place} cannot be read: delete the folder and build it again") from error


def _sync(folder: Path) -> None:
    """Bytes to the disk before the rename makes them visible."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _cause(error: OSError) -> OSError:
    """copytree gathers its errors in one without a number; the text still says which it was."""
    if error.errno is None and "No space left" in str(error):
        return OSError(28, "No space left on device")
    return error
