import io

import msgspec
import pytest
from rich.console import Console

from trimtab.ui import live
from trimtab.ui.live import Header, Live, Progress, Running, draw, line

HEADER = Header("dealer-teacher", "http://127.0.0.1:8400/v1", "gpt-4o class")
RUNNING = tuple(Running(f"s{i}", f"buy a [red] car {i}", "sales", "search_vehicles(colour=red)", i) for i in range(12))
PROGRESS = Progress(
    total=120,
    done=40,
    solved=38,
    running=RUNNING,
    calls=300,
    input_tokens=90_000,
    output_tokens=9_000,
    cost_nanodollars=315_000_000,
    seconds=60,
)


def console(terminal):
    return Console(width=110, file=io.StringIO(), force_terminal=terminal, color_system=None)


def text(progress):
    plain = console(False)
    plain.print(draw(HEADER, progress))
    return plain.file.getvalue()


def test_the_view_says_all_there_is_to_say():
    drawn = text(PROGRESS)
    for words in ("dealer-teacher", "127.0.0.1:8400", "gpt-4o class", "sessions 40/120", "about 120 s left"):
        assert words in drawn
    for words in ("95.0%", "95 %: 83% to 99%", "5.0 /s", "150 out/s", "90,000 in · 9,000 out", "$0.3150"):
        assert words in drawn
    assert "buy a [red] car 6" in drawn
    assert "search_vehicles(colour=red)" in drawn
    assert "and 5 more" in drawn


def test_the_view_keeps_its_size():
    some = msgspec.structs.replace(PROGRESS, running=RUNNING[:2])
    sizes = {tuple(map(len, text(one).splitlines())) for one in (PROGRESS, some, Progress(total=3))}
    assert len(sizes) == 1
    assert max(sizes.pop()) <= live.WIDTH


def test_before_the_first_session_ended_nothing_is_claimed():
    drawn = text(Progress(total=10, cost_nanodollars=None))
    assert "no session ended yet" in drawn
    assert "unknown" in drawn
    assert "0.0%" not in drawn


def test_a_pipe_gets_a_line_now_and_then_and_the_last_numbers():
    plain = console(False)
    with Live(HEADER, plain) as view:
        for done in range(41):
            view.update(msgspec.structs.replace(PROGRESS, done=done, solved=done))
    lines = plain.file.getvalue().splitlines()
    assert lines == [
        "dealer-teacher at http://127.0.0.1:8400/v1, priced as gpt-4o class",
        line(msgspec.structs.replace(PROGRESS, done=0, solved=0)),
        line(msgspec.structs.replace(PROGRESS, done=40, solved=40)),
    ]
    assert "40/120 sessions" in lines[2]
    assert "\x1b" not in plain.file.getvalue()


def test_a_terminal_is_redrawn_in_place_at_most_four_times_a_second(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    screen = console(True)
    with Live(HEADER, screen) as view:
        for step in range(1000):
            clock[0] += 0.01
            view.update(msgspec.structs.replace(PROGRESS, calls=step))
    written = screen.file.getvalue()
    assert 36 <= written.count("sessions 40/120") <= 42
    assert "999 so far" in written
    assert "\x1b[1A" in written


def test_the_screen_is_given_back_when_the_run_breaks():
    screen = console(True)
    with pytest.raises(KeyboardInterrupt), Live(HEADER, screen) as view:
        view.update(PROGRESS)
        raise KeyboardInterrupt
    assert screen.file.getvalue().rstrip().endswith("\x1b[?25h")
