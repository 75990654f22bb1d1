"""LiteLLM's table in a real Postgres, started for the test: the very columns of its schema."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.store.formats import samples
from tests.store.formats.samples import ANSWER, COST, MESSAGES, PRICES
from trimtab.errors import FormatError
from trimtab.store.importers import import_file
from trimtab.store.logs import ImportReport, records, size_of
from trimtab.store.traces import TraceReader, TraceWriter

# As Prisma makes it of `model LiteLLM_SpendLogs` (litellm-proxy-extras 0.4.110).
TABLE = """CREATE TABLE "LiteLLM_SpendLogs" (
    "request_id" TEXT NOT NULL PRIMARY KEY, "call_type" TEXT NOT NULL, "api_key" TEXT NOT NULL DEFAULT '',
    "spend" DOUBLE PRECISION NOT NULL DEFAULT 0.0, "total_tokens" INTEGER NOT NULL DEFAULT 0,
    "prompt_tokens" INTEGER NOT NULL DEFAULT 0, "completion_tokens" INTEGER NOT NULL DEFAULT 0,
    "startTime" TIMESTAMP(3) NOT NULL, "endTime" TIMESTAMP(3) NOT NULL, "request_duration_ms" INTEGER,
    "completionStartTime" TIMESTAMP(3), "model" TEXT NOT NULL DEFAULT '', "model_id" TEXT DEFAULT '',
    "model_group" TEXT DEFAULT '', "custom_llm_provider" TEXT DEFAULT '', "api_base" TEXT DEFAULT '',
    "user" TEXT DEFAULT '', "metadata" JSONB DEFAULT '{}', "cache_hit" TEXT DEFAULT '', "cache_key" TEXT DEFAULT '',
    "request_tags" JSONB DEFAULT '[]', "team_id" TEXT, "organization_id" TEXT, "end_user" TEXT,
    "requester_ip_address" TEXT, "messages" JSONB DEFAULT '{}', "response" JSONB DEFAULT '{}', "session_id" TEXT,
    "status" TEXT, "mcp_namespaced_tool_name" TEXT, "agent_id" TEXT, "proxy_server_request" JSONB DEFAULT '{}')"""


def programs():
    """The folder of Debian's newest server, or that of the one on the path; None without one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@pytest.fixture(scope="module")
def database():
    pytest.importorskip("psycopg", reason="needs the driver: pip install 'trimtab[logs]'")
    folder = programs()
    if folder is None:
        pytest.skip("needs a Postgres server's programs: on Debian type  apt-get install postgresql")
    # Not among pytest's own folders, which are closed to others: the server refuses to run as root.
    place = Path(tempfile.mkdtemp(prefix="trimtab-pg-"))
    user = {"user": "postgres"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(place, "postgres")
    quiet = {"check": True, "capture_output": True, "timeout": 120, "cwd": place, **user}
    data, log = str(place / "data"), str(place / "log")
    subprocess.run([folder / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N", "--locale=C.UTF-8"], **quiet)
    options = f"-c listen_addresses= -c unix_socket_directories={place} -c fsync=off -c shared_buffers=8MB"
    subprocess.run([folder / "pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start"], **quiet)
    try:
        yield f"postgresql://postgres:secret@/postgres?host={place}"
    finally:
        subprocess.run([folder / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def filled(database):
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute('DROP TABLE IF EXISTS "LiteLLM_SpendLogs"')
        connection.execute(TABLE)
        rows = [samples.litellm(request_id=f"r{number}", spend=0.001 * number) for number in range(2_500)]
        names = list(rows[0])
        columns = ", ".join(f'"{name}"' for name in names)
        with connection.cursor().copy(f'COPY "LiteLLM_SpendLogs" ({columns}) FROM STDIN') as copy:
            for row in rows:
                copy.write_row([json.dumps(one) if isinstance(one, dict | list) else one for one in row.values()])
    return database


def test_every_row_is_read_as_its_export_would_be(filled):
    report, seen = ImportReport(), []
    taken = list(records(filled, PRICES, report=report, progress=seen.append))
    assert (len(taken), report.read, report.bad, seen[-1], size_of(filled)) == (2_500, 2_500, 0, 2_500, None)
    call, payload = taken[0][0].call, taken[0][0].payload.decoded()
    assert (call.cost_nanodollars, call.usage.cache_read_tokens, call.agent) == (COST, 60, "sales")
    assert payload.request["messages"] == MESSAGES
    assert payload.response["choices"][0]["message"]["content"] == ANSWER
    assert call.started_ns == 1_763_812_800 * 10**9 + 123_000_000  # the column keeps milliseconds


def test_it_can_be_imported(filled, tmp_path):
    with TraceWriter(tmp_path / "store") as writer:
        assert import_file(filled, writer, PRICES).new == 2_500
        assert import_file(filled, writer, PRICES).known == 2_500
    assert TraceReader(tmp_path / "store").count() == 2_500


def test_what_is_wrong_is_one_clear_line_without_the_password(database):
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute('DROP TABLE IF EXISTS "LiteLLM_SpendLogs"')
    for address, said in ((database, "does not exist"), ("postgresql://u:secret@127.0.0.1:1/x", "refused")):
        with pytest.raises(FormatError, match=said) as caught:
            list(records(address, PRICES, report=ImportReport()))
        assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FormatError, match="LiteLLM"):
        list(records(database, PRICES, kind="phoenix", report=ImportReport()))
