"""An erasure that the process with the store open carries out for another."""

import threading

import pytest

from tests.store.samples import make_record
from tests.store.test_erase import NEEDLES, ada, found
from trimtab.errors import StoreBusy, StoreError
from trimtab.money import Price, PriceTable
from trimtab.store import errand
from trimtab.store.entry import Entry
from trimtab.store.erase import Erasure
from trimtab.store.errand import Repricing, ServingWriter, erased, repriced
from trimtab.store.reprice import Pricing
from trimtab.store.traces import TraceReader, TraceWriter

ADA = Erasure(user="ada@example.org")


@pytest.fixture
def serving(tmp_path):
    """A gateway's writer with Ada's calls, and with one of hers in its spill."""
    with ServingWriter(tmp_path, spill_bytes=10**6) as writer:
        writer.append([ada(1), ada(2)])
        assert writer.spill.append([Entry(ada(3))]) == 1
        yield writer


class Loop:
    """Looks after the store, as the recorder does."""

    def __init__(self, writer):
        self.writer = writer
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.wait(0.05):
            self.writer.housekeep()

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(10)


def test_the_holder_of_the_store_does_it_and_says_what_it_did(serving):
    assert found(serving.folder) == set(NEEDLES)
    with Loop(serving):
        assert (erased(serving.folder, ADA).calls, erased(serving.folder, ADA).calls) == (3, 0)
    assert found(serving.folder) == set() and not list(serving.folder.glob("errand.*"))
    # The spill is still the holder's own and still works.
    assert serving.spill.append([Entry(ada(4))]) == 1 and bool(serving.spill)


def test_what_the_holder_cannot_do_is_said(serving, monkeypatch):
    def refuse(*_):
        raise StoreError("run this again")

    monkeypatch.setattr(errand, "erase", refuse)
    with Loop(serving), pytest.raises(StoreError, match="run this again"):
        erased(serving.folder, ADA)


def test_a_holder_that_runs_no_errands_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(errand, "PATIENCE_S", 0.3)
    with TraceWriter(tmp_path), pytest.raises(StoreBusy, match="has a writer already"):
        erased(tmp_path, ADA)
    assert not list(tmp_path.glob("errand.*"))


def test_a_holder_that_ends_meanwhile_leaves_it_to_the_command(tmp_path):
    writer = TraceWriter(tmp_path)
    writer.append([ada(1)])
    timer = threading.Timer(0.5, writer.close)
    timer.start()
    assert erased(tmp_path, ADA).calls == 1
    timer.join()
    assert found(tmp_path) == set() and not list(tmp_path.glob("errand.*"))


def test_an_errand_that_a_dead_gateway_had_taken_is_taken_up_again(serving):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(errand, "erase", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        errand._leave(serving.folder, errand._Errand("1", erase=ADA))
        with pytest.raises(KeyboardInterrupt):
            serving.housekeep()
    assert found(serving.folder) == set(NEEDLES) and (serving.folder / "errand.taken").exists()
    with pytest.raises(StoreBusy, match="under way"):
        errand._leave(serving.folder, errand._Errand("2", erase=ADA))
    serving.housekeep()
    assert found(serving.folder) == set() and not (serving.folder / "errand.taken").exists()


def test_a_file_that_is_no_errand_does_no_harm(serving):
    (serving.folder / "errand.asked").write_text("{")
    serving.housekeep()
    assert found(serving.folder) == set(NEEDLES) and not list(serving.folder.glob("errand.*"))


def test_the_holder_of_the_store_prices_its_calls_anew(serving):
    pricing = Pricing(PriceTable("v9", {"m": Price(input=1, cache_read=1, output=1)}))
    serving.append([make_record(7, trace="bob", priced_as="m")])
    with Loop(serving):
        report = repriced(serving.folder, Repricing(pricing, make_record(7).call.started_ns))
    assert (report.table, report.calls, report.changed) == ("v9", 1, 1)
    assert TraceReader(serving.folder).trace("bob").calls[0].cost_nanodollars == 107_000
