"""The view of a gate's run, on the error output: redrawn in place on a terminal, else a plain line now and then."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from trimtab.gate.offline import Progress

LINE_S = 5.0
WIDTH = 100


class View:
    """`with View(title) as view:`, then `view.update(progress)`."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(stderr=True)
        self._live = (
            Live(console=self._console, refresh_per_second=4, transient=True) if self._console.is_terminal else None
        )
        self._said = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        if self._live is not None:
            self._live.update(draw(self._title, progress))
        elif time.monotonic() - self._said >= LINE_S:
            self._said = time.monotonic()
            self._console.print(line(progress), highlight=False, soft_wrap=True, markup=False)


def line(progress: Progress) -> str:
    """One plain line, for a log or a pipe."""
    return (
        f"{progress.n} of at most {progress.cap} clusters  evidence {progress.wealth:.3g} of {progress.needed:g} "
        f"(harm {progress.harm_wealth:.3g})  difference {_points(progress.difference)} "
        f"[{_points(progress.low)}, {_points(progress.high)}]  {_left(progress)}"
        + (f"  {progress.missing} missing" if progress.missing else "")
    )


def draw(title: str, progress: Progress) -> Panel:
    """The whole view."""
    numbers = Table.grid(padding=(0, 3))
    numbers.add_row("clusters", f"{progress.n:,} of at most {progress.cap:,}", _left(progress))
    interval = f"[{_points(progress.low)}, {_points(progress.high)}]"
    numbers.add_row("difference", _points(progress.difference), escape(interval))
    if progress.missing:
        numbers.add_row("missing", f"{progress.missing:,}", "")
    bars = Table.grid(padding=(0, 2), expand=True)
    for name, wealth in (("to promote", progress.wealth), ("to reject", progress.harm_wealth)):
        share = min(1.0, max(0.0, math.log(max(wealth, 1.0)) / math.log(progress.needed)))
        bars.add_row(name, ProgressBar(total=1.0, completed=share, width=50), f"{wealth:.3g} of {progress.needed:g}")
    lines = Table.grid(padding=(0, 3))
    for name, decision, wealth in progress.lines:
        lines.add_row(escape(name), str(decision), f"{wealth:.3g}")
    return Panel(Group(numbers, "", bars, "", lines), title=escape(title), border_style="cyan", width=WIDTH)


def _left(progress: Progress) -> str:
    return "" if progress.left is None else f"about {progress.left:,} to go"


def _points(share: float) -> str:
    return f"{share * 100:+.1f} pt"
