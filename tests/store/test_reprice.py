"""History priced anew: right to the nano-dollar, whole days or nothing, and never 0 for what is unknown."""

import sqlite3

import msgspec
import pytest

from trimtab.money import Price, PriceTable, Usage
from trimtab.store import reprice as repricing
from trimtab.store import schema
from trimtab.store.reprice import Pricing, preview
from trimtab.store.traces import TraceReader, TraceWriter

DAY = 86_400
RAW = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}
OLD = PriceTable("v1", {"m": Price(input=1, output=2)})
NEW = PriceTable("v2", {"m": Price(input=2, cache_read=1, output=4), "alias": Price(input=10, output=10)})


@pytest.fixture
def folder(tmp_path, record):
    """Two days of calls of `m` as OLD priced them: 100 × 1,000 + 10 × 2,000 each."""
    usage = Usage(input_tokens=100, output_tokens=10, cache_read_tokens=40)
    fields = {"raw_usage": RAW, "usage": usage, "cost_nanodollars": 120_000, "price_table": "v1", "priced_as": "m"}
    with TraceWriter(tmp_path / "store") as writer:
        writer.append([record(number * DAY, trace=f"t{number}", **fields) for number in (0, 1)])
    return tmp_path / "store"


def reprice(folder, pricing, **more):
    with TraceWriter(folder) as writer:
        return repricing.reprice(writer, pricing, **more)


def add(folder, record, **fields):
    with TraceWriter(folder) as writer:
        writer.append([record(9, trace="t9", **fields)])


def call(folder, trace="t9"):
    return TraceReader(folder).trace(trace).calls[0]


def test_every_day_is_priced_by_the_new_table(folder):
    seen = []
    report = reprice(folder, Pricing(NEW), progress=lambda done, total: seen.append((done, total)))
    # 60 × 2,000 + 40 × 1,000 + 10 × 4,000
    assert (call(folder, "t0").cost_nanodollars, call(folder, "t0").price_table) == (200_000, "v2")
    assert (report.calls, report.changed) == (2, 2)
    assert (report.old_nanodollars, report.new_nanodollars) == (240_000, 400_000)
    assert (report.unpriced, report.kept, seen) == ({}, {}, [(1, 2), (2, 2)])
    again = reprice(folder, Pricing(NEW))
    assert (again.changed, again.old_nanodollars, again.new_nanodollars) == (0, 400_000, 400_000)


def test_since_leaves_older_calls_alone(folder):
    report = reprice(folder, Pricing(NEW), since_ns=call(folder, "t1").started_ns)
    assert report.calls == 1
    assert [call(folder, name).price_table for name in ("t0", "t1")] == ["v1", "v2"]


def test_a_dry_run_says_the_same_beside_a_writer_and_writes_nothing(folder):
    with TraceWriter(folder):
        told = preview(folder, Pricing(NEW))
    assert call(folder, "t0").cost_nanodollars == 120_000
    assert told == reprice(folder, Pricing(NEW))


def test_the_raw_usage_decides_where_the_normalised_one_was_wrong(folder, record):
    raw = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 0}
    add(folder, record, raw_usage=raw, usage=Usage(input_tokens=10, output_tokens=1), priced_as="m")
    reprice(folder, Pricing(NEW))
    held = call(folder)
    assert held.usage == Usage(input_tokens=100, output_tokens=1, cache_read_tokens=90)
    assert held.cost_nanodollars == 10 * 2000 + 90 * 1000 + 4000


def test_an_unknown_price_stays_unknown_until_the_table_has_it(folder, record):
    add(folder, record, raw_usage=RAW, cost_nanodollars=None, price_table="", priced_as="alias")
    report = reprice(folder, Pricing(OLD))
    assert (report.unpriced, call(folder).cost_nanodollars) == ({"alias": 1}, None)
    assert reprice(folder, Pricing(NEW)).unpriced == {}
    assert call(folder).cost_nanodollars == 110 * 10_000


def test_a_price_that_left_the_table_keeps_the_cost_and_its_version(folder):
    report = reprice(folder, Pricing(PriceTable("v3", {"other": Price(1, 1)})))
    assert (report.kept, report.changed, report.new_nanodollars) == ({"m": 2}, 0, 240_000)
    assert (call(folder, "t0").cost_nanodollars, call(folder, "t0").price_table) == (120_000, "v1")


def test_a_usage_that_cannot_be_read_is_unknown_and_not_free(folder, record):
    add(folder, record, raw_usage={"prompt_tokens": "ten"}, usage=Usage(), cost_nanodollars=0, priced_as="m")
    reprice(folder, Pricing(NEW))
    assert call(folder).cost_nanodollars is None


def test_an_estimate_is_priced_as_it_is(folder, record):
    usage = Usage(input_tokens=50, output_tokens=5, estimated=True)
    add(folder, record, raw_usage=None, usage=usage, response_model="m", cost_nanodollars=None)
    reprice(folder, Pricing(NEW))
    assert (call(folder).usage, call(folder).cost_nanodollars) == (usage, 120_000)


@pytest.mark.parametrize(
    ("noted", "names", "priced_as"),
    [("", {}, "m"), ("", {"e": "alias"}, "alias"), ("m", {"e": "alias"}, "m"), ("gone", {"e": "alias"}, "alias")],
)
def test_under_which_name_the_price_is_looked_up(folder, record, noted, names, priced_as):
    add(folder, record, raw_usage=RAW, endpoint="e", response_model="m", priced_as=noted)
    reprice(folder, Pricing(NEW, names))
    assert call(folder).priced_as == priced_as


def test_a_day_is_changed_as_a_whole_or_not_at_all(folder, record):
    add(folder, record, raw_usage=RAW, cost_nanodollars=1, priced_as="m")
    pricing = Pricing(NEW)

    def stop(done, total):
        # The first day has two calls, the second one.
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reprice(folder, pricing, progress=stop)
    assert [call(folder, name).price_table for name in ("t0", "t9", "t1")] == ["v2", "v2", "v1"]
    assert reprice(folder, pricing).changed == 1
    with sqlite3.connect(schema.day_files(folder)[0]) as connection:
        assert connection.execute("SELECT DISTINCT price_table FROM calls").fetchall() == [("v2",)]


def test_a_store_of_an_older_version_is_updated_first(folder, monkeypatch):
    later = ("ALTER TABLE calls ADD COLUMN later TEXT",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, later))
    assert reprice(folder, Pricing(NEW)).changed == 2


def test_no_store_has_no_calls(tmp_path):
    report = preview(tmp_path / "none", Pricing(NEW))
    assert msgspec.structs.asdict(report)["calls"] == 0 and not (tmp_path / "none").exists()
