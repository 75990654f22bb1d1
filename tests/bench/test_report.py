"""The tables on cells whose truth is known: effects, bars, the picture; and a journal that goes on."""

import math
import random
import xml.etree.ElementTree as ET

import msgspec
import pytest

from trimtab.bench import attribution, cells, picture, report
from trimtab.bench.attribution import Journal
from trimtab.bench.cells import Cell, Setup
from trimtab.errors import FormatError

GAINS = {"student": 6.0, "int8": 1.5, "int4": 1.8, "lookup": 1.1, "drafter": 2.0, "off": 0.5}


def made(setup: Setup, block: int, concurrency: int, rate: float, good: bool = True, loop: str = "closed") -> Cell:
    return Cell(
        setup=setup, block=block, concurrency=concurrency, requests=100, tokens=2000, wall_s=100 / rate, cpu_s=9.0,
        ttft_s=[0.1, 0.2], latency_s=[0.3, 0.5], peak_mb=100.0, sessions={f"{n}": good for n in range(20)},
        moves_right=90, drafted=10, taken=8, loop=loop,
    )  # fmt: skip


def world(touching: float = 1.0, blocks: int = 4) -> list[Cell]:
    """All cells of the enlarged pair; drafter and int4 together gain `touching` times what they gain alone."""
    chance, found = random.Random(1), []
    for block in range(blocks):
        for setup in cells.full("enlarged"):
            for concurrency in cells.CONCURRENCY:
                rate = 0.5 * concurrency**0.7
                for level in (setup.model, setup.precision, setup.draft, setup.reuse):
                    rate *= GAINS.get(level, 1.0)
                if setup.draft == "drafter" and setup.precision == "int4":
                    rate *= touching
                found.append(made(setup, block, concurrency, rate * math.exp(chance.gauss(0, 0.02))))
    return found


def test_main_effects_are_found_with_what_they_need():
    told = {effect.name: (effect, needs) for effect, needs in report.effects(world(), "enlarged")}
    effect, needs = told["model: student / teacher, overall"]
    assert effect.low < 6.0 < effect.high or effect.factor == pytest.approx(6.0, rel=0.02)
    assert effect.factor == pytest.approx(6.0, rel=0.05)
    assert effect.blocks == 4
    assert "gate" in needs
    assert told["draft: drafter / none, 4 at once"][0].factor == pytest.approx(2.0, rel=0.05)
    assert told["reuse: off / on, overall"][0].factor == pytest.approx(0.5, rel=0.05)
    assert told["concurrency: 16 / 1, overall"][0].factor == pytest.approx(16**0.7, rel=0.05)
    assert all(needs for _, needs in told.values())


def test_interactions_say_where_gains_get_in_each_others_way():
    told = {effect.name: effect for effect in report.interactions(world(0.7), "enlarged")}
    assert told["precision int4 with draft drafter"].high < 0.8
    assert told["precision int8 with draft drafter"].factor == pytest.approx(1.0, abs=0.05)
    assert told["model student with draft drafter"].factor == pytest.approx(1.0, abs=0.05)


def test_bars_hold_and_fall_short():
    bars = {bar.name: bar for bar in report.bars(world(), "enlarged")}
    name = "enlarged, 1 at once: student + int4 + drafter / teacher + bf16, requests/s"
    assert bars[name].holds is True  # 6 x 1.8 x 2
    slow = [made(c.setup, c.block, c.concurrency, 0.4 if c.setup.draft == "drafter" else c.rate) for c in world()]
    bars = {bar.name: bar for bar in report.bars(slow, "enlarged")}
    governed = [bar for name, bar in bars.items() if "drafter under the governor" in name]
    assert [bar.holds for bar in governed] == [False] * 3


def test_success_that_falls_by_more_than_the_margin_falls_short_and_few_sessions_are_inconclusive():
    def told(good, blocks):
        found = [
            made(c.setup, c.block, c.concurrency, c.rate, good if c.setup.precision == "int4" else True)
            for c in world(blocks=blocks)
        ]
        return [bar.holds for bar in report.bars(found, "enlarged") if "task success" in bar.name]

    assert set(told(True, 8)) == {True}
    assert set(told(False, 4)) == {False}
    assert set(told(True, 1)) == {None}


def test_judged_sessions_tell_task_success_and_no_speed():
    cells = world(blocks=2)
    winner = Setup("enlarged", "student", "int4", "drafter")
    assert set(report.compared(cells, "enlarged")) == {
        Setup("enlarged", "teacher"),
        Setup("enlarged", "student"),
        winner,
    }
    before = {bar.name: bar for bar in report.bars(cells, "enlarged")}
    judged = [
        msgspec.structs.replace(made(setup, attribution.JUDGED, 16, 1.0), loop="judged",
                                sessions={f"s{at}": True for at in range(400)})
        for setup in report.compared(cells, "enlarged")
    ]  # fmt: skip
    after = {bar.name: bar for bar in report.bars([*cells, *judged], "enlarged")}
    assert before.keys() == after.keys()
    for name, bar in after.items():
        if "task success" in name:
            assert bar.holds is True
        else:
            assert bar == before[name]
    assert report.effects([*cells, *judged], "enlarged") == report.effects(cells, "enlarged")


def test_what_seemed_slower_is_held_by_its_second_measurement():
    """Which was picked by nothing but the first."""
    slow = Setup("enlarged", "teacher", "int4", "lookup")
    cells = [
        msgspec.structs.replace(cell, wall_s=cell.wall_s * (1.3 if cell.setup == slow and cell.concurrency == 1 else 1))
        for cell in world()
    ]
    assert report.doubtful(cells, "enlarged") == [(slow, 1)]

    def told(seconds):
        plain = msgspec.structs.replace(slow, draft="none")
        again = [
            made(setup, 2000 + block, 1, rate, loop="again")
            for setup, rates in ((slow, seconds), (plain, [1.0] * len(seconds)))
            for block, rate in enumerate(rates)
        ]
        found = {bar.name: bar for bar in report.bars([*cells, *again], "enlarged")}
        return found["enlarged, 1 at once: lookup under the governor / none, worst of 12"]

    assert told([]).holds is False
    assert told([1.0, 0.99, 1.01, 1.0]).holds is True
    assert "1 measured again, the worst at first 0.8" in told([1.0, 0.99]).beside
    assert told([0.8, 0.81, 0.8, 0.79]).holds is False
    assert told([0.8, 1.1]).holds is False, "by its mean, as every bar"


def test_the_fastest_is_held_by_its_second_measurement():
    """It was picked by the first, and by its luck there."""
    winner = Setup("enlarged", "student", "int4", "drafter")
    plain = Setup("enlarged", "teacher"), Setup("enlarged", "student")
    again = [
        made(setup, 4000 + block, 1, rate, loop="again")
        for setup, rate in ((winner, 15.0), (plain[0], 1.0), (plain[1], 6.0))
        for block in range(3)
    ]
    name = "enlarged, 1 at once: student + int4 + drafter / {}, requests/s"
    bars = {bar.name: bar for bar in report.bars([*world(), *again], "enlarged")}
    teacher, student = bars[name.format("teacher + bf16")], bars[name.format("student + bf16")]
    assert teacher.holds is True and teacher.measured == "15.00x [15.00, 15.00]"
    assert "3 blocks after it was picked by 2" in teacher.beside
    assert student.holds is False and student.measured.startswith("2.50x")


def test_nothing_measured_says_nothing():
    assert report.bars([], "enlarged") == []
    assert report.effects([], "enlarged") == []
    assert report.interactions([], "enlarged") == []
    assert report.table([]) == []
    assert picture.svg([], "enlarged") == ""


def test_the_picture_is_one_and_shows_every_barred_setup():
    text = picture.svg(world(), "enlarged")
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    assert all(setup.name in text for setup in cells.barred("enlarged"))
    assert "nan" not in text


def test_the_table_has_a_row_for_each_setup_and_concurrency():
    rows = report.table(world(blocks=2))
    assert len(rows) == 36 * 3
    assert rows[0]["task success"].startswith("100.0%")
    assert "2 blocks" in rows[0]["n"]


def test_a_stopped_run_goes_on_and_a_torn_line_is_measured_again(tmp_path):
    path = tmp_path / "cells.jsonl"
    journal = Journal(path)
    for cell in world(blocks=1)[:3]:
        journal.add(cell)
    path.write_bytes(path.read_bytes()[:-20])
    again = Journal(path)
    assert len(again.cells) == 2
    again.add(journal.cells[2])
    assert Journal(path).cells == journal.cells
    path.write_bytes(b"not a cell\n" + path.read_bytes())
    with pytest.raises(FormatError, match="line 1"):
        Journal(path)


def test_plans():
    assert len(cells.full("shipped")) == 36
    assert set(cells.fraction("enlarged")) < set(cells.full("enlarged"))
    assert attribution.quick("enlarged", 2).blocks >= 2


def test_further_blocks_of_one_model_change_no_main_effect():
    """They count where that model is compared with itself, and nowhere else."""
    both = world(blocks=2)
    alone = [
        made(Setup("enlarged", "student", precision), 2, 1, rate) for precision, rate in (("bf16", 1.0), ("int8", 9.0))
    ]
    assert report.effects([*both, *alone], "enlarged") == report.effects(both, "enlarged")
    assert report.interactions([*both, *alone], "enlarged") == report.interactions(both, "enlarged")
    pair = Setup("enlarged", "student", "int8"), Setup("enlarged", "student")
    assert report.paired([*both, *alone], *pair, 1).blocks == 3
