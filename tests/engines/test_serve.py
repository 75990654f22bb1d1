"""The command: what it prints, what it refuses, and that nothing is left running."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.engines.serving import save_chat_model
from trimtab.engines.embedded import EmbeddedEngine
from trimtab.engines.serve import Settings, listen, profiles
from trimtab.errors import ConfigError, ModelError, PortInUse, TrimtabError

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_chat_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "trimtab", "engine", "serve", *words]


def refused(*words: str) -> str:
    """The one line on stderr of a command that must fail, without `trimtab: `."""
    done = subprocess.run(command(*words), capture_output=True, text=True, timeout=60)
    assert done.returncode > 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line.removeprefix("trimtab: ")


def children(pid: int) -> list[int]:
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(word) for word in out.split()]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def all_gone(pids: list[int]) -> bool:
    for _ in range(200):
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(folder: Path, number: signal.Signals) -> None:
    words = command(f"car={folder}", "--port", "0", "--threads", "1", "--precision", "f32")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    model, ready = process.stdout.readline(), process.stdout.readline()
    assert model.startswith("model car: f32, context 1024 tokens")
    assert ready.startswith("ready: http://127.0.0.1:")
    workers = children(process.pid)
    assert len(workers) == 1
    os.killpg(process.pid, number)  # as Ctrl-C does: to every process of the group
    assert process.wait(20) == 0
    assert all_gone(workers)
    process.stdout.close()


def test_the_embedded_engine_ends_with_its_parent(folder: Path) -> None:
    code = (
        "import os, sys, time\nfrom trimtab.engines.embedded import EmbeddedEngine\n"
        f"engine = EmbeddedEngine([{str(folder)!r}], precision='f32', threads=1).__enter__()\n"
        "print(engine.pid, flush=True)\ntime.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    everyone = [server, *children(server)]
    assert len(everyone) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert all_gone(everyone)


def test_the_worker_ends_when_the_server_is_killed(folder: Path) -> None:
    with EmbeddedEngine([str(folder)], precision="f32", threads=1) as engine:
        workers = children(engine.pid)
        os.kill(engine.pid, signal.SIGKILL)
        assert all_gone(workers)


def test_the_server_never_loads_the_engine(folder: Path) -> None:
    with EmbeddedEngine([str(folder)], precision="f32", threads=1) as engine:
        body = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}).encode()
        urllib.request.urlopen(engine.url + "/chat/completions", body).read()
        (worker,) = children(engine.pid)
        assert "openvino" not in Path(f"/proc/{engine.pid}/maps").read_text()
        assert "openvino" in Path(f"/proc/{worker}/maps").read_text()


def test_a_port_in_use_is_said_before_anything_is_loaded() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused("/no/such/model", "--port", str(port))
        assert f"port {port} on 127.0.0.1 is in use" in line
        with pytest.raises(PortInUse):
            listen("127.0.0.1", port)


def test_what_cannot_be_listened_on() -> None:
    for host, port in (("127.0.0.1", 99_999), ("no.such.host.invalid", 0), ("192.0.2.1", 0)):
        with pytest.raises(ConfigError, match="choose"):
            listen(host, port)


def test_a_missing_folder() -> None:
    assert "/no/such/model" in refused("/no/such/model", "--port", "0")


def test_a_broken_tokenizer(folder: Path, tmp_path: Path) -> None:
    broken = save_chat_model(tmp_path / "broken")
    (broken / "tokenizer.json").write_text('{"model": {"type": "BPE"')
    line = refused(str(folder), f"other={broken}", "--port", "0", "--threads", "1")
    assert "tokenizer.json" in line


def test_a_broken_template(tmp_path: Path) -> None:
    broken = save_chat_model(tmp_path / "broken", template="{% for %}")
    assert "chat template" in refused(str(broken), "--port", "0", "--threads", "1")


def test_an_unknown_architecture(tmp_path: Path) -> None:
    strange = save_chat_model(tmp_path / "strange")
    config = json.loads((strange / "config.json").read_text()) | {"model_type": "mamba"}
    (strange / "config.json").write_text(json.dumps(config))
    assert "mamba" in refused(str(strange), "--port", "0")


def test_two_models_of_one_name(folder: Path) -> None:
    assert "NAME=PATH" in refused(str(folder), str(folder), "--port", "0", "--threads", "1")


def test_a_model_without_template_serves_text(tmp_path: Path) -> None:
    plain = save_chat_model(tmp_path / "plain", template="")
    words = command(str(plain), "--port", "0", "--threads", "1")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "no chat template" in process.stdout.readline()
        process.terminate()
        assert process.wait(20) == 0


def test_the_python_entry_point_says_why(folder: Path) -> None:
    with pytest.raises(ModelError, match="/no/such/model"), EmbeddedEngine(["/no/such/model"]):
        pass
    with pytest.raises(TrimtabError, match="not running"):
        _ = EmbeddedEngine([str(folder)]).pid


def test_names() -> None:
    told = profiles(Settings(models=("a", "b=/x/y=z", "/x/y=z", "./q=1")))
    assert [(one.name, one.worker.profile.model) for one in told] == [
        ("", "a"),
        ("b", "/x/y=z"),
        ("", "/x/y=z"),
        ("", "./q=1"),
    ]
