"""What a server's processes have used, as Linux tells it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def family(pid: int) -> list[int]:
    """`pid` and all its children's children."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for word in path.read_text().split():
            found += family(int(word))
    return found


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds of all their threads so far, to the nanosecond."""
    paths = [path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(path.read_text().split()[0]) for path in paths) / 1e9


def peak_mb(pids: Sequence[int]) -> float:
    """Sum of each process's own peak (VmHWM) in MB: never below the peak of the sum."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    found = [re.search(r"VmHWM:\s+(\d+) kB", status) for status in statuses]
    return sum(int(match[1]) * 1024 for match in found if match) / 1e6
