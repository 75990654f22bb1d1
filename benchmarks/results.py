"""What every benchmark shares: the printed table, and its copy with hardware and versions in RESULTS.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
PACKAGES = ("trimtab", "openvino-genai", "aiohttp", "uvicorn", "uvloop", "msgspec", "torch", "transformers")


def publish(name: str, heads: Sequence[str], rows: Sequence[Sequence[str]], notes: str = "") -> None:
    """Print the table as Markdown and append it to RESULTS.md with the date, the hardware and the versions."""
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
    print("\n".join(lines))
    head = f"## {name} · {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n\n{hardware()}\n\n{versions()}\n"
    text = "\n".join([head, *([notes, ""] if notes else []), *lines, "", ""])
    if not RESULTS.exists():
        RESULTS.write_text("# What was measured\n\nNewest last; each benchmark appends its own table.\n\n")
    with RESULTS.open("a") as file:
        file.write(text)


def hardware() -> str:
    """Processor, cores, memory and load."""
    cpu = platform.processor() or platform.machine()
    flags = ""
    if (info := Path("/proc/cpuinfo")).exists():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
        words = next((line for line in lines if line.startswith("flags")), "").split()
        flags = ", ".join(
            flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if flag in words
        )
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return f"{cpu} ({flags}), {os.cpu_count()} cores, {gigabytes:.0f} GB, load average {load:.1f} at the end."


def versions() -> str:
    """Python and the packages that matter here."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return f"Python {platform.python_version()}; {', '.join(found)}."
