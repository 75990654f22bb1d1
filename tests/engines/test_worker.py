"""The worker: the engine alone through its messages, then as a process that is killed, closed and supervised."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engines.serving import CONTEXT, save_chat_model
from trimtab.engines.pipeline import Pipeline, kv_blocks
from trimtab.engines.prefix import BLOCK, PrefixIndex
from trimtab.engines.protocol import (
    Add,
    Batch,
    Cancel,
    Failed,
    Form,
    Frames,
    FromWorker,
    Grammar,
    Piece,
    Profile,
    Ready,
    Sampling,
    frame,
    pack,
)
from trimtab.engines.supervise import Worker
from trimtab.errors import ModelError, RequestRefused

pytestmark = pytest.mark.engine
GREEDY = Sampling(greedy=True)


@pytest.fixture(scope="module")
def profile(tmp_path_factory) -> Profile:
    folder = save_chat_model(tmp_path_factory.mktemp("models") / "tiny")
    cache = str(tmp_path_factory.mktemp("cache"))
    return Profile(str(folder), "f32", cache, threads=1, max_seqs=4, kv_mib=64)


@pytest.fixture(scope="module")
def pipeline(profile: Profile) -> Pipeline:
    return Pipeline(profile)


def run(pipeline: Pipeline) -> dict[int, list[Piece]]:
    """Step until nothing is left; the pieces by request."""
    pieces: dict[int, list[Piece]] = {}
    while pipeline.busy:
        for piece in pipeline.step().pieces:
            pieces.setdefault(piece.id, []).append(piece)
    return pieces


def add(pipeline: Pipeline, number: int, prompt: list[int], length: int = 8, **more) -> None:
    assert pipeline.add(Add(number, pack(prompt), length, GREEDY, **more)) is None


def test_streamed_and_whole_are_the_same_tokens(pipeline: Pipeline) -> None:
    add(pipeline, 1, [40, 41, 42], logprobs=True)
    add(pipeline, 2, [40, 41, 42], logprobs=True, streamed=False)
    pieces = run(pipeline)
    (whole,) = pieces[2]
    assert len(pieces[1]) == len(whole.tokens) > 1
    assert [token for piece in pieces[1] for token in piece.tokens] == whole.tokens
    assert len(whole.logprobs) == len(whole.tokens)
    assert whole.finish in ("stop", "length")


def test_a_pause_gathers_the_tokens_between_the_first_and_the_last(profile: Profile) -> None:
    pipeline = Pipeline(profile, pause=600.0)
    add(pipeline, 1, [40, 41, 42], logprobs=True)
    add(pipeline, 2, [40, 41, 42], logprobs=True, streamed=False)
    pieces: dict[int, list[Piece]] = {1: [], 2: []}
    while pipeline.busy:
        batch = pipeline.step()
        for piece in batch.pieces if batch else ():
            pieces[piece.id].append(piece)
    (whole,) = pieces[2]
    first, rest = pieces[1]
    assert len(first.tokens) == 1
    assert first.tokens + rest.tokens == whole.tokens
    assert len(first.logprobs + rest.logprobs) == len(whole.tokens) > 2
    assert (first.finish, rest.finish) == ("", whole.finish)


def test_cancel_frees_the_place(pipeline: Pipeline) -> None:
    add(pipeline, 10, [50, 51], 500)
    pipeline.step()
    pipeline.cancel(10)
    pipeline.cancel(999)
    assert not pipeline.busy
    add(pipeline, 11, [50, 51])
    assert list(run(pipeline)) == [11]


def test_more_requests_than_places_wait(pipeline: Pipeline) -> None:
    for number in range(20, 30):
        add(pipeline, number, [60 + number, 61], 6)
    batch = pipeline.step()
    assert batch.running <= 4
    assert batch.waiting >= 5
    assert sorted(run(pipeline)) == list(range(20, 30))


def test_what_the_engine_refuses(pipeline: Pipeline) -> None:
    refused = pipeline.add(Add(30, pack([50]), 0, GREEDY))
    assert refused is not None
    assert refused.finish == "refused"
    assert "max_new_tokens" in refused.message


def test_a_bad_grammar_is_taken_out_and_the_others_go_on(pipeline: Pipeline) -> None:
    add(pipeline, 40, [70, 71], 30)
    (alone,) = [[token for piece in run(pipeline)[40] for token in piece.tokens]]
    add(pipeline, 41, [70, 71], 30)
    before = [token for _ in range(4) for piece in pipeline.step().pieces for token in piece.tokens]
    add(pipeline, 42, [70, 71], 30, grammar=Grammar(form=Form(schema='{"type": "string", "pattern": "([a"}')))
    pieces = run(pipeline)
    assert pieces[42][-1].finish == "refused"
    assert before + [token for piece in pieces[41] for token in piece.tokens] == alone


def test_the_prefix_estimate_is_what_the_engine_does(profile: Profile) -> None:
    """Prompts are computed 256 tokens a step, so the steps to the first token tell how much was cached."""
    pipeline = Pipeline(profile)
    base = [30 + at % 250 for at in range(900)]
    cases = [base, base, base[:500] + [299] * 400, base[:290] + [298] * 500, [297, *base[:700]], base[:640]]
    for number, prompt in enumerate(cases):
        add(pipeline, number, prompt, 1)
        steps, pieces = 0, []
        while not pieces:
            pieces = pipeline.step().pieces
            steps += 1
        assert steps == -(-(len(prompt) - pieces[0].cached) // 256), f"prompt {number}: {pieces[0].cached} cached"
    assert [PrefixIndex(1).cached(pack([1] * 64))] == [0]


def test_prefix_index_forgets_the_oldest() -> None:
    index = PrefixIndex(2)
    first, second = pack([1] * BLOCK), pack([2] * (BLOCK * 2))
    index.add(first)
    assert index.cached(first + pack([9])) == BLOCK
    assert index.cached(first) == BLOCK - 1
    index.add(second)
    assert index.cached(first) == 0
    assert index.cached(second + pack([3] * 40)) == BLOCK * 2


def test_kv_blocks_are_bounded() -> None:
    assert kv_blocks(1024, 4, 1000, 10_000) == 4 * 33
    assert kv_blocks(1024, 4, 1000, 1) == 2**20 // 32_000
    assert kv_blocks(1_000_000, 64, 10**9, 1) == 2


def test_frames_come_back_from_any_pieces() -> None:
    messages = [Batch([Piece(1, [2], [-0.5])], 1, 0, 0.5), Failed("x", 8), Batch([], 0, 0, 0.0)]
    data = b"".join(frame(message) for message in messages)
    for size in (1, 3, 1000):
        frames = Frames(FromWorker)
        assert [m for at in range(0, len(data), size) for m in frames.feed(data[at : at + size])] == messages


def start(profile: Profile) -> tuple[subprocess.Popen, socket.socket, Frames]:
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", "trimtab.engines.worker", str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=(theirs.fileno(),))
    ours.sendall(frame(profile))
    return process, ours, Frames(FromWorker)


def answer(sock: socket.socket, frames: Frames) -> list:
    messages: list = []
    while not messages:
        data = sock.recv(1 << 16)
        assert data, "the worker closed the socket"
        messages = list(frames.feed(data))
    return messages


def test_a_worker_ends_when_its_server_is_gone_even_in_the_middle(profile: Profile) -> None:
    process, sock, frames = start(profile)
    assert isinstance(answer(sock, frames)[0], Ready)
    process.send_signal(signal.SIGINT)  # Ctrl-C reaches it too, and is the server's affair
    sock.sendall(frame(Add(1, pack([40]), 900, GREEDY)) + frame(Cancel(7)))
    assert isinstance(answer(sock, frames)[0], Batch)
    sock.close()
    assert process.wait(10) == 0


def test_a_worker_says_why_it_cannot_load(profile: Profile) -> None:
    process, sock, frames = start(Profile("/no/such", "f32", "", 1, 4, 64))
    (failed,) = answer(sock, frames)
    sock.close()
    assert "/no/such" in failed.message
    assert process.wait(10) == failed.exit_code == ModelError.exit_code


def test_a_killed_worker_is_replaced(profile: Profile) -> None:
    async def scenario() -> None:
        worker = Worker(profile)
        ready = await worker.start()
        assert ready.context == CONTEXT
        try:
            generation = worker.generate(Add(0, pack([40]), 900, GREEDY))
            await generation.next()
            old = worker.pid
            assert old is not None
            os.kill(old, signal.SIGKILL)
            pieces = [await generation.next()]
            while not pieces[-1][-1].finish:
                pieces.append(await generation.next())
            assert pieces[-1][-1].finish == "lost"
            with pytest.raises(RequestRefused) as caught:
                worker.generate(Add(0, pack([40]), 4, GREEDY))
            assert caught.value.status == 503
            while worker.state != "ready":
                await asyncio.sleep(0.05)
            assert worker.pid != old
            assert worker.restarts == 1
            again = worker.generate(Add(0, pack([40]), 4, GREEDY, streamed=False))
            assert len((await again.next())[0].tokens) in range(1, 5)
        finally:
            await worker.stop()
        assert worker.pid is None

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_worker_that_cannot_load_is_one_clear_error() -> None:
    async def scenario() -> None:
        worker = Worker(Profile("/no/such", "f32", "", 1, 4, 64))
        with pytest.raises(ModelError, match="/no/such"):
            await worker.start()
        assert worker.pid is None

    asyncio.run(scenario())


def test_closing_twice_and_late_is_harmless(profile: Profile) -> None:
    async def scenario() -> None:
        worker = Worker(profile)
        await worker.start()
        generation = worker.generate(Add(0, pack([40]), 900, GREEDY))
        generation.close()
        generation.close()
        assert (await generation.next())[-1].finish == "gone"
        assert worker.live == 0
        begun = time.monotonic()
        await worker.stop()
        await worker.stop()
        assert time.monotonic() - begun < 5

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_model_folder_without_weights(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError):
        Pipeline(Profile(str(tmp_path), "f32", "", 1, 4, 64))
