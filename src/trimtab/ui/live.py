"""The view of a run while it runs: redrawn in place on a terminal, a plain line now and then elsewhere.

Knows neither the arena nor the gateway: it draws the numbers it is handed.
"""

from __future__ import annotations

import time
from types import TracebackType

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trimtab.money import text_of
from trimtab.stats.intervals import wilson

WIDTH = 100
REDRAW_S = 0.25
LINE_S = 5.0


class Running(msgspec.Struct, frozen=True):
    """One session in progress: what the customer wants, who serves it, what was done last, for how many seconds."""

    session: str
    goal: str
    agent: str = ""
    action: str = ""
    seconds: float = 0.0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A run so far: `done` of `total` sessions ended, `solved` of them with success, after `seconds` of wall time.

    `cost_nanodollars` is None where no price is known; `errors` counts calls that did not complete.
    """

    total: int
    done: int = 0
    solved: int = 0
    running: tuple[Running, ...] = ()
    calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanodollars: int | None = 0
    seconds: float = 0.0


class Header(msgspec.Struct, frozen=True):
    """What runs: the model, where it answers, and whose list price it is counted at."""

    model: str
    endpoint: str
    price_class: str
    title: str = "Trimtab"


def draw(header: Header, progress: Progress, rows: int = 8) -> RenderableType:
    """The whole view; at most `rows` running sessions, so that its height stays the same during a run."""
    body = Group(_bar(progress), Text(), _numbers(progress), Text(), _running(progress.running, rows))
    subtitle = f"{header.model} · {header.endpoint} · priced as {header.price_class}"
    title = Text(header.title, style="bold")
    return Panel(body, title=title, subtitle=Text(subtitle, style="dim"), border_style="cyan", width=WIDTH)


def line(progress: Progress) -> str:
    """One plain line, for a log or a pipe."""
    rate = progress.calls / progress.seconds if progress.seconds > 0 else 0.0
    return (
        f"{progress.seconds:6.0f} s  {progress.done}/{progress.total} sessions  success {_success(progress)}  "
        f"{progress.calls:,} calls ({rate:.1f}/s)  {progress.input_tokens:,} in  {progress.output_tokens:,} out  "
        f"{text_of(progress.cost_nanodollars)}"
    )


class Live:
    """Shows the last `update`; a context manager. Updates are cheap: it draws at most four times a second."""

    def __init__(self, header: Header, console: Console | None = None) -> None:
        self._header = header
        self._console = console or Console()
        self._progress: Progress | None = None
        self._shown: Progress | None = None
        self._next = 0.0
        self._live = RichLive(console=self._console, auto_refresh=False) if self._console.is_terminal else None

    def __enter__(self) -> Live:
        if self._live:
            self._live.start()
        else:
            self._plain(f"{self._header.model} at {self._header.endpoint}, priced as {self._header.price_class}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show()
        if self._live:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Take the newest numbers; draw them if it is time."""
        self._progress = progress
        now = time.monotonic()
        if now >= self._next:
            self._next = now + (REDRAW_S if self._live else LINE_S)
            self._show()

    def _show(self) -> None:
        if self._progress is None or self._progress is self._shown:
            return
        self._shown = self._progress
        if self._live:
            self._live.update(draw(self._header, self._progress), refresh=True)
        else:
            self._plain(line(self._progress))

    def _plain(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _bar(progress: Progress) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    left = ""
    if progress.done and progress.seconds > 0:
        remaining = progress.seconds / progress.done * (progress.total - progress.done)
        left = f"{progress.seconds:,.0f} s, about {remaining:,.0f} s left"
    count = f"sessions {progress.done}/{progress.total}"
    grid.add_row(Text(count, style="bold"), ProgressBar(max(progress.total, 1), progress.done), Text(left, style="dim"))
    return grid


def _numbers(progress: Progress) -> Table:
    grid = Table.grid(padding=(0, 2), expand=True)
    for _ in range(4):
        grid.add_column(ratio=1)
    seconds = progress.seconds if progress.seconds > 0 else float("inf")
    failed = f", {progress.errors:,} failed" if progress.errors else ""
    grid.add_row(
        _fact("success", _success(progress), _interval(progress)),
        _fact("calls", f"{progress.calls / seconds:.1f} /s", f"{progress.calls:,} so far{failed}"),
        _fact(
            "tokens",
            f"{progress.output_tokens / seconds:,.0f} out/s",
            f"{progress.input_tokens:,} in · {progress.output_tokens:,} out",
        ),
        _fact("cost so far", text_of(progress.cost_nanodollars), "at list prices"),
    )
    return grid


def _running(running: tuple[Running, ...], rows: int) -> Table:
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("running", ratio=4, no_wrap=True, overflow="ellipsis")
    table.add_column("agent", ratio=1, no_wrap=True, overflow="ellipsis", style="cyan")
    table.add_column("last action", ratio=3, no_wrap=True, overflow="ellipsis")
    table.add_column("s", width=5, no_wrap=True, justify="right", style="dim")
    shown = running if len(running) <= rows else running[: rows - 1]
    for one in shown:
        table.add_row(Text(one.goal or one.session), Text(one.agent), Text(one.action), f"{one.seconds:.0f}")
    if len(shown) < len(running):
        table.add_row(Text(f"and {len(running) - len(shown)} more", style="dim"), "", "", "")
    for _ in range(rows - table.row_count):
        table.add_row("", "", "", "")
    return table


def _success(progress: Progress) -> str:
    return f"{progress.solved / progress.done:.1%}" if progress.done else "–"


def _interval(progress: Progress) -> str:
    low, high = wilson(progress.solved, progress.done)
    return f"95 %: {low:.0%} to {high:.0%}" if progress.done else "no session ended yet"


def _fact(name: str, value: str, note: str) -> Text:
    return Text.assemble((name, "dim"), "\n", (value, "bold"), "\n", (note, "dim"))
