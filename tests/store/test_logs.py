"""Logs of any kind: told apart, read in bounded memory, and never stopped by what is bad in them."""

import csv
import gzip
import io
import json
import random
import sqlite3
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.formats import samples
from tests.store.formats.samples import PRICES, csv_of, jsonl, one, read
from tests.store.samples import make_record
from trimtab.errors import FormatError
from trimtab.store import pieces
from trimtab.store.logs import FORMATS, ImportReport, detect, records, size_of
from trimtab.store.rows import COLUMNS, INSERT_CALL, payload_of, payload_row, row_of
from trimtab.store.traces import TraceReader, TraceWriter
from trimtab.store.unpacked import opened
from trimtab.trace import EncodedPayload, Score


def numbered(count, kind="openai"):
    """`count` lines of different calls."""
    response = samples.RESPONSE
    return [samples.ROWS[kind](response=response | {"id": f"chatcmpl-{number}"}) for number in range(count)]


LINES = jsonl(*numbered(50))


@pytest.mark.parametrize("kind", list(samples.ROWS))
def test_each_kind_is_told_by_its_beginning(tmp_path, kind):
    row = samples.ROWS[kind]()
    if kind == "anthropic":  # a pair reads the same by either name; a batch's result has names of its own
        row = {"custom_id": "a", "result": {"type": "succeeded", "message": row["response"]}}
    content = csv_of(row) if kind == "azure" else jsonl(row)
    path = tmp_path / "f"
    path.write_bytes(content)
    assert detect(path) == kind
    path.write_bytes(json.dumps([row] * 3, indent=2).encode())
    assert detect(path) == kind
    if kind != "mooncake":  # as data frames write their index
        held = io.StringIO()
        csv.writer(held).writerows([["", *row], ["0", *[json.dumps(one) for one in row.values()]]])
        path.write_text(held.getvalue())
        assert detect(path) == kind
    # The last line, or a first one so long that its end is not seen.
    path.write_bytes(jsonl(row | {"zzz": "x" * 300_000}))
    assert detect(path) == kind


def test_a_first_line_that_says_nothing_is_read_as_pairs(tmp_path):
    path = tmp_path / "f"
    for content in (b"", b"hello, world\nthis is, no log\n", b"\x89PNG\r\n\x1a\n" * 30, b"{}\n[]\n"):
        path.write_bytes(content)
        assert detect(path) == "auto"
        taken, report = read(path)
        assert not taken and bool(report.bad) == bool(content)


def test_bodies_are_not_decoded(tmp_path):
    ((record, _), *_), _ = read(tmp_path / "f", LINES)
    assert isinstance(record.payload, EncodedPayload)
    assert bytes(record.payload.request["messages"]) == json.dumps(samples.MESSAGES).encode()


def packed_zstd(data):
    zstandard = pytest.importorskip("zstandard")
    return zstandard.compress(data[:700]) + zstandard.compress(data[700:])


PACKED = {
    "gzip": gzip.compress,
    "members": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]) + bytes(64),
    "zstd": packed_zstd,
    "utf-8 with a mark": lambda data: b"\xef\xbb\xbf" + data,
    "utf-16": lambda data: data.decode().encode("utf-16"),
    "utf-16-be": lambda data: b"\xfe\xff" + data.decode().encode("utf-16-be"),
    "carriage returns": lambda data: data.replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED)
def test_packed_and_marked_files(tmp_path, packed):
    seen = []
    taken, report = read(tmp_path / "f.gz", packed(LINES), progress=seen.append)
    assert (len(taken), report.bad) == (50, 0)
    assert seen == sorted(seen) and seen[-1] == size_of(tmp_path / "f.gz")


@pytest.mark.parametrize("pack", [gzip.compress, packed_zstd], ids=["gzip", "zstd"])
def test_a_packed_file_that_is_cut_off_keeps_what_came_before(tmp_path, pack):
    # Such that it does not pack to nothing.
    noise = random.Random(1)
    rows = [row | {"workflow": noise.randbytes(2_000).hex()} for row in numbered(200)]
    data = pack(jsonl(*rows))
    taken, report = read(tmp_path / "f", data[: len(data) // 2])
    assert 20 < len(taken) < 150
    assert any("cut off" in sample for sample in report.samples)
    assert 1 <= report.bad <= 2  # the file, and the line in which it ends
    broken = bytearray(data)
    broken[len(data) // 2 : len(data) // 2 + 4_000] = noise.randbytes(4_000)
    taken, report = read(tmp_path / "f", bytes(broken))
    assert len(taken) > 20 and (report.bad or pack is packed_zstd)  # which has no checksum


def test_lines_of_ten_megabytes_and_of_any_depth(tmp_path):
    large = samples.openai(request={"model": "m", "messages": [{"role": "user", "content": "x" * 10_000_000}]})
    deep = b'{"request": {"messages": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}\n"
    taken, report = read(tmp_path / "f", jsonl(large) + deep + LINES)
    assert (len(taken), report.bad) == (51, 1) and "nested" in report.samples[0]


def test_mixed_encodings_cost_only_their_own_lines(tmp_path):
    latin = LINES.splitlines()[0].replace(b"Which", "Wélche".encode("latin-1")) + b"\n"
    taken, report = read(tmp_path / "f", latin + LINES)
    assert (len(taken), report.bad) == (50, 1) and "UTF-8" in report.samples[0]
    content = csv_of(samples.litellm(), samples.litellm(request_id="2", user="é"))
    taken, report = read(tmp_path / "f.csv", content.replace("é".encode(), b"\xe9"))
    assert (len(taken), report.bad) == (1, 1)


def test_a_call_that_comes_twice_is_counted_once(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.jsonl").write_bytes(LINES)
    (tmp_path / "logs" / "b.jsonl.gz").write_bytes(gzip.compress(LINES))
    taken, report = read(tmp_path / "logs")
    assert (len(taken), report.read, report.known, report.bad) == (50, 100, 50, 0)


def test_clocks_that_go_backwards_are_remarked_on(tmp_path):
    backwards = samples.langfuse(startTime="2025-11-22T12:00:01Z", endTime="2025-11-22T12:00:00Z")
    call, _, _ = one(tmp_path / "f", jsonl(backwards))
    assert call.duration_ms == 0
    _, report = read(tmp_path / "f")
    assert report.remarks == {"ends before it starts: its duration is taken as 0": 1}


def test_secrets_and_personal_data_are_masked_in_what_is_shown(tmp_path):
    secret, person = "sk-" + "a1" * 20, "jane.doe@example.com"
    row = samples.openai(scores=[{"name": f"{secret} {person}", "value": 7}])
    _, report = read(tmp_path / "f", jsonl(row))
    assert report.bad == 1 and "[redacted:" in report.samples[0]
    assert secret not in report.samples[0] and person not in report.samples[0]


def test_a_folder_is_read_file_by_file_and_a_stranger_in_it_is_counted(tmp_path):
    folder = tmp_path / "logs"
    (folder / "deeper" / ".hidden").mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(LINES)
    (folder / "deeper" / "b.csv").write_bytes(csv_of(samples.azure()))
    (folder / "deeper" / ".hidden" / "c.jsonl").write_bytes(jsonl(samples.mooncake()))
    (folder / "notes.md").write_text("# Notes\n\nNo log.\n")
    seen = []
    taken, report = read(folder, progress=seen.append)
    assert len(taken) == 51 and report.bad == 1 and report.samples[0].startswith("notes.md: ")
    assert seen == sorted(seen) and seen[-1] == size_of(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="no file"):
        read(tmp_path / "empty")


def test_our_own_store_comes_back_as_it_was_written(tmp_path):
    made = [make_record(number, trace=f"t{number // 4}", body=number != 3) for number in range(1_200)]
    with TraceWriter(tmp_path / "store") as writer:
        writer.append(made)
        writer.append_scores("t0", (Score("success", 1.0, "oracle"),))
        seen = []
        # While the writer has it.
        taken, report = read(tmp_path / "store", progress=seen.append)
        assert report.bad == 0 and seen == sorted(seen) and seen[-1] == size_of(tmp_path / "store")
    assert [record.call for record, _ in taken] == [record.call for record in made]
    assert [record.payload and record.payload.decoded() for record, _ in taken] == [record.payload for record in made]
    assert [scores for _, scores in taken[:4]] == [(Score("success", 1.0, "oracle"),), (), (), ()]
    with TraceWriter(tmp_path / "other") as writer:
        from trimtab.store.importers import import_file

        assert import_file(tmp_path / "store", writer, PRICES).new == 1_200
    assert TraceReader(tmp_path / "other").trace("t0") == TraceReader(tmp_path / "store").trace("t0")
    (day,) = (tmp_path / "store").glob("*.sqlite")
    assert len(read(day)[0]) == 1_200
    with pytest.raises(FormatError, match="no store"):
        read(tmp_path, kind="trimtab")


def test_what_cannot_be_opened_is_one_clear_line(tmp_path):
    for source, kind, said in (
        (tmp_path / "none", "auto", "no such file"),
        (tmp_path / "none", "trimtab", "no store"),
        (tmp_path, "csv", "no format is named 'csv'"),
    ):
        with pytest.raises(FormatError, match=said):
            list(records(source, PRICES, kind=kind, report=ImportReport()))


def test_memory_is_bounded_by_the_calls_and_not_by_the_file(tmp_path):
    path = tmp_path / "f.jsonl"
    with path.open("wb") as file:
        for number in range(5_000):
            row = samples.openai(response=samples.RESPONSE | {"id": f"r{number}"}, trace_id="x" * 1_500)
            file.write(jsonl(row))
    tracemalloc.start()
    report = ImportReport()
    for _ in records(path, PRICES, report=report):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.read == 5_000 and peak < 8 << 20 < path.stat().st_size


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**30)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["stop", "{", "[1]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
fuzz = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KINDS = [kind for kind in FORMATS if kind != "trimtab"]


def altered(row, changes):
    """`row` with some of its values, however deep, replaced."""
    held = json.loads(json.dumps(row))
    for place, value in changes:
        at = held
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = keys[place % len(keys)]
            place //= len(keys)
            if place and isinstance(at[key], dict | list) and at[key]:
                at = at[key]
                continue
            at[key] = value
            break
    return held


@fuzz
@pytest.mark.parametrize("kind", list(samples.ROWS))
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), json_values), min_size=1, max_size=4), as_csv=st.booleans())
def test_no_value_in_a_row_stops_a_reading(tmp_path, kind, changes, as_csv):
    row = altered(samples.ROWS[kind](), changes)
    content = csv_of(row) if as_csv else jsonl(row)
    taken, report = read(tmp_path / "f", content, kind=kind)
    assert len(taken) + report.bad + sum(report.remarks.values()) >= 1 or not as_csv
    assert report.read == len(taken)
    for record, _ in taken:
        assert record.call.id and record.call.duration_ms >= 0 and record.call.usage.input_tokens >= 0
        # The store can hold it.
        with sqlite3.connect(":memory:") as connection:
            connection.execute(f"CREATE TABLE calls ({', '.join(COLUMNS)})")
            connection.execute(INSERT_CALL, row_of(record.call))
        connection.close()
        if record.payload is not None:
            payload_of(*payload_row(record.payload))


@fuzz
@given(
    content=st.lists(st.sampled_from([json.dumps(make()).encode() for make in samples.ROWS.values()])
                     | st.binary(max_size=30), max_size=5),
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4)), max_size=4),
    joint=st.sampled_from([b"\n", b",", b"", b"\r\n", b"\0"]),
    kind=st.sampled_from(KINDS),
    pack=st.sampled_from([bytes, gzip.compress]),
)  # fmt: skip
def test_no_bytes_stop_a_reading(tmp_path, content, edits, joint, kind, pack):
    held = pack(joint.join(content))
    for place, piece in edits:
        place %= max(1, len(held))
        held = held[:place] + piece + held[place + len(piece) :]
    taken, report = read(tmp_path / "f", held, kind=kind)
    assert report.read == len(taken) + report.known and len(report.samples) == min(report.bad, 5)


def test_objects_are_found_however_the_file_is_cut_into_chunks(tmp_path, monkeypatch):
    rows = [{"a": 'quote " brace } slash \\ ü', "b": [{"c": "{"}, "}"]}, {}, {"d": {"e": {}}}]
    content = json.dumps(rows, ensure_ascii=False).encode()
    path = tmp_path / "f"
    path.write_bytes(content)
    for chunk in (1, 2, 3, 7, 1 << 20):
        monkeypatch.setattr(pieces, "_CHUNK", chunk)
        raw, file = opened(path)
        with file:
            found = [json.loads(piece.text) for piece in pieces.objects(file, lambda raw=raw: raw.packed)]
        assert found == rows


@given(rows=st.lists(st.dictionaries(st.text(max_size=6), json_values, min_size=1, max_size=3), max_size=5))
def test_objects_are_those_that_json_finds(rows):
    content = json.dumps(rows).encode()
    found = [json.loads(text) for text in pieces.outermost(content) if text[:1] == b"{"]
    assert [json.dumps(one) for one in found] == [json.dumps(one) for one in rows]
