"""What the writer acknowledged is there after kill -9 and after a full disk."""

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from trimtab.errors import DiskFull, StoreError
from trimtab.store import schema
from trimtab.store.traces import TraceReader, TraceWriter

# Appends for ever, over two days at once, and says after each batch how far it is.
CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.store.samples import make_record
from trimtab.store.traces import TraceWriter
start, number = int(sys.argv[2]), int(sys.argv[2])
with TraceWriter(Path(sys.argv[1])) as writer:
    while True:
        numbers = range(number, number + 10)
        batch = [make_record(n, trace=f"t{n // 10}", started_ns=(1_763_855_990 + n % 20) * 10**9) for n in numbers]
        writer.append(batch)
        number += 10
        print(number, flush=True)
"""


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of 1 MiB where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if done.returncode:
        pytest.skip("mounting a tiny disk is not allowed here; test_full_file covers SQLite's own limit")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_kill_nine_loses_nothing_acknowledged(tmp_path, request):
    folder, chance, done = tmp_path / "store", random.Random(7), 0
    for _ in range(5):
        command = [sys.executable, "-c", CHILD, str(folder), str(done), str(request.config.rootpath)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            done = int(child.stdout.readline())
            time.sleep(chance.uniform(0.0, 0.3))
            child.send_signal(signal.SIGKILL)
            done = max([done, *map(int, child.stdout.read().split("\n")[:-1])])
        found = {call.id for trace in TraceReader(folder).scan() for call in trace.calls}
        assert {f"call-{number}" for number in range(done)} <= found
        for path in schema.day_files(folder):
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with TraceWriter(folder) as writer:  # the dead writer's lock is free, its file takes more
        assert len(schema.day_files(folder)) == 2
        assert writer.folder == folder


def _fill(writer, record, number=0):
    """Append until the disk is full; the ids acknowledged, and the batch that was refused."""
    acknowledged = []
    while number < 20_000:
        batch = [
            record(n, trace=f"t{n}", tags={"noise": random.Random(n).randbytes(400).hex()})
            for n in range(number, number + 10)
        ]
        try:
            writer.append(batch)
        except DiskFull as error:
            assert "no room left" in str(error) and "\n" not in str(error)
            return acknowledged, batch
        acknowledged += [item.call.id for item in batch]
        number += 10
    raise AssertionError("the disk never filled")


def _ids(folder):
    return {call.id for trace in TraceReader(folder).scan() for call in trace.calls}


def test_full_disk_loses_nothing_and_recovers(tiny_disk, record):
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(b"x" * 300_000)
    with TraceWriter(tiny_disk / "store") as writer:
        acknowledged, refused = _fill(writer, record)
        assert len(acknowledged) >= 50
        assert set(acknowledged) <= _ids(writer.folder)
        with pytest.raises(DiskFull):
            writer.append(refused)
        ballast.unlink()
        assert writer.append(refused) == 10
        assert _ids(writer.folder) == {*acknowledged, *(item.call.id for item in refused)}
    assert len(_ids(tiny_disk / "store")) == len(acknowledged) + 10


def _to_the_brim(path):
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_disk_that_fills_while_a_day_is_closed(tiny_disk, record):
    """The day's file is there but SQLite's own files beside it cannot be made: another error, the same meaning."""
    with TraceWriter(tiny_disk / "store") as writer:
        writer.append([record(1)])
    with TraceWriter(tiny_disk / "store") as writer:
        _to_the_brim(tiny_disk / "ballast")
        with pytest.raises(DiskFull):
            writer.append([record(2)])
        (tiny_disk / "ballast").unlink()
        assert writer.append([record(2)]) == 1
    assert _ids(tiny_disk / "store") == {"call-1", "call-2"}


def test_an_i_o_error_on_a_full_disk_means_a_full_disk(tiny_disk):
    """On some disks SQLite's own files beside the day fail with an I/O error where there is no room."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    assert type(schema.refusal(error, tiny_disk / "day")) is StoreError
    _to_the_brim(tiny_disk / "ballast")
    assert type(schema.refusal(error, tiny_disk / "day")) is DiskFull


def test_a_store_on_a_disk_already_full(tiny_disk):
    _to_the_brim(tiny_disk / "ballast")
    with pytest.raises(DiskFull):
        TraceWriter(tiny_disk / "store")
    (tiny_disk / "ballast").unlink()
    TraceWriter(tiny_disk / "store").close()


def test_full_file(tmp_path, record, monkeypatch):
    """SQLite's page limit stands in for the disk's, so that this holds where nothing may be mounted."""
    plain = schema.open_for_writing

    def limited(path):
        connection = plain(path)
        connection.execute("PRAGMA max_page_count=60")
        return connection

    with TraceWriter(tmp_path) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(schema, "open_for_writing", limited)
            acknowledged, refused = _fill(writer, record)
        assert set(acknowledged) == _ids(tmp_path)
        assert writer.append(refused) == 10
        assert len(_ids(tmp_path)) == len(acknowledged) + 10


def test_a_store_on_a_read_only_disk_can_be_read(tiny_disk, record):
    with TraceWriter(tiny_disk / "store") as writer:
        writer.append([record(1)])
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    assert _ids(tiny_disk / "store") == {"call-1"}
    with pytest.raises(StoreError, match="cannot use"):
        TraceWriter(tiny_disk / "store")
