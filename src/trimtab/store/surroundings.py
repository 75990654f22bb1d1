"""Surroundings: the machine and the versions that a number was made with."""

from __future__ import annotations

import functools
import os
import platform
from importlib import metadata
from pathlib import Path

from trimtab import __version__

# What figures depend on, where it is installed.
_LIBRARIES = ("numpy", "openvino")


@functools.cache
def surroundings() -> dict[str, str]:
    """Versions of trimtab, Python and the libraries that compute; system, processor and number of CPUs."""
    found = {
        "trimtab": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _processor(),
        "cpus": str(os.cpu_count() or 0),
    }
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
