"""What wrapping the engine costs: streamed chats through the server beside the bare openvino_genai pipeline.

`python benchmarks/engine.py [--quick] [--json FILE] [--model NAME_OR_FOLDER]`

The bare side is a child process that adds token ids to a ContinuousBatchingPipeline of the worker's own settings, steps
it and reads each token: no HTTP, no text, no second process. Both sides get the same new prompts in the same order
(so both have the same prefix in their caches), never an end token, and take turns; figures are ratios of neighbours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import results

from trimtab.arena.dealership.agents import AGENTS
from trimtab.engines.chat import ChatTemplate, special_tokens
from trimtab.engines.embedded import EmbeddedEngine
from trimtab.engines.pipeline import Pipeline
from trimtab.engines.prepared import locate
from trimtab.engines.protocol import Add, Profile, Sampling
from trimtab.engines.text import Codec
from trimtab.engines.vocabulary import read_vocabulary
from trimtab.engines.worker import PAUSE
from trimtab.errors import ModelError, TrimtabError

BAR_RATE = 0.90  # of the bare pipeline's tokens/s
BAR_TTFT_MS = 3.0
BAR_BYTES = 2e9
TOKENS = 128  # in each answer
FIRST = 4  # tokens in an answer that is asked for the time to its first one
ONE_BY_ONE = 3  # requests in a turn at concurrency 1
SILENCE_S = 60
PROBES = 4  # first tokens timed in a round
MAX_SEQS, KV_MIB = 16, 256  # the server's own defaults
COLOURS = ("red", "blue", "white", "black", "green", "silver", "grey", "brown", "yellow")
CARS = ("hatchback", "estate", "van", "coupe", "pickup", "convertible", "saloon")


class Prompt(NamedTuple):
    """One question: the request's bytes for the server, the same prompt as token ids for the bare pipeline."""

    request: bytes
    ids: list[int]
    max_tokens: int


class Answered(NamedTuple):
    """What a batch of prompts gave: tokens really made, seconds to the last one, seconds to each first one."""

    tokens: int
    wall_s: float
    first_s: list[float]


class Turn(NamedTuple):
    """One side's turn in a round."""

    tokens: int
    wall_s: float
    cpu_s: list[float]

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        """Tokens a CPU-second of all the side's processes."""
        return self.tokens / sum(self.cpu_s)


class Asker:
    """Makes prompts that no cache has seen, with the shipped sales agent's instructions and tools before them."""

    def __init__(self, folder: Path) -> None:
        vocabulary = read_vocabulary(folder, 2**31)
        if vocabulary.tokenizer_json is None or vocabulary.chat_template is None:
            raise ModelError(f"{folder}: the benchmark sends chats: it needs tokenizer.json and a chat template")
        self._model = folder.name
        self._codec = Codec(vocabulary.tokenizer_json)
        self._template = ChatTemplate(vocabulary.chat_template, special_tokens(folder))
        self._asked = 0

    def ask(self, max_tokens: int, *, tools: bool) -> Prompt:
        """Without `tools` they stand in the system text: then no token is held back as part of a call."""
        self._asked += 1
        number, sales = self._asked, AGENTS["sales"]
        listed = "" if tools else "".join(listing(schema["function"]) for schema in sales.schemas())
        question = (
            f"Have you a {COLOURS[number % 9]} {CARS[number % 7]} below {9000 + 137 * number}? My number is {number}."
        )
        messages = [{"role": "system", "content": sales.system + listed}, {"role": "user", "content": question}]
        given = sales.schemas() if tools else []
        body = {"model": self._model, "messages": messages, "max_tokens": max_tokens, "temperature": 0, "stream": True}
        body |= {"stream_options": {"include_usage": True}} | ({"tools": given} if tools else {})
        content = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(content)}\r\n\r\n"
        ids = self._codec.encode(self._template.render(messages, given))
        return Prompt(head.encode() + content, ids, max_tokens)


def listing(function: dict) -> str:
    """A tool as a line of text, about as long as the shipped models' template writes it."""
    return f"\n{function['name']}({', '.join(function['parameters'].get('properties', {}))}) {function['description']}"


class Server:
    """The server's side. The client is sockets and no parser, since its CPU time is not the server's."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        address = urlsplit(engine.url)
        self.pids = [engine.pid, *children(engine.pid)]
        self._sockets = [socket.create_connection((address.hostname, address.port)) for _ in range(8)]
        for sock in self._sockets:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.events = self.tokens = 0

    def answer(self, prompts: Sequence[Prompt]) -> Answered:
        """All prompts at once, each on its own open connection, read to the end of its stream."""
        first: dict[int, float] = {}
        answers = [b""] * len(prompts)
        with selectors.DefaultSelector() as selector:
            begun = time.perf_counter()
            for at, prompt in enumerate(prompts):
                self._sockets[at].sendall(prompt.request)
                selector.register(self._sockets[at], selectors.EVENT_READ, at)
            while selector.get_map():
                ready = selector.select(SILENCE_S)
                if not ready:
                    raise TrimtabError(f"the server said nothing for {SILENCE_S} s: try again on a quieter machine")
                for key, _ in ready:
                    data = key.fileobj.recv(1 << 16)
                    answers[key.data] += data
                    if key.data not in first and b"data: " in answers[key.data]:
                        first[key.data] = time.perf_counter() - begun
                    if not data or answers[key.data].endswith(b"0\r\n\r\n"):
                        selector.unregister(key.fileobj)
            wall = time.perf_counter() - begun
        made = 0
        for answer in answers:
            found = re.search(rb'"completion_tokens":(\d+)', answer)
            if found is None:
                raise TrimtabError(f"the server did not answer: {answer[:300].decode(errors='replace')}")
            made += int(found[1])
            self.events += answer.count(b"data: {")
        self.tokens += made
        return Answered(made, wall, [first[at] for at in range(len(prompts))])

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


class Bare:
    """The bare pipeline's side: a child process, so that it does not share this one's interpreter."""

    def __init__(self, model: Path, threads: int) -> None:
        command = [sys.executable, __file__, "--role", "bare", "--model", str(model), "--threads", str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pids = [self._process.pid]
        if self._process.stdout.readline() != b"ready\n":
            raise TrimtabError("the bare pipeline did not load: see above")

    def answer(self, prompts: Sequence[Prompt]) -> Answered:
        told = [[prompt.ids, prompt.max_tokens] for prompt in prompts]
        self._process.stdin.write(json.dumps(told).encode() + b"\n")
        self._process.stdin.flush()
        return Answered(*json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """The child ends when its input does."""
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def bare(model: str, threads: int) -> None:
    """The child: lines of [[ids, max_tokens], ...] in, [tokens, wall seconds, seconds to first tokens] out."""
    import numpy as np
    import openvino

    # The worker's own class builds the engine and the generation settings, so that they are the same by construction.
    loaded = Pipeline(Profile(model, "bf16", "", threads, MAX_SEQS, KV_MIB))
    engine = loaded._engine
    number = 0
    print("ready", flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        prompts = [(openvino.Tensor(np.array([ids], np.int64)), most) for ids, most in told]
        first: dict[int, float] = {}
        tokens = 0
        begun = time.perf_counter()
        handles = []
        for tensor, most in prompts:
            number += 1
            config = loaded._config(Add(0, b"", most, Sampling(greedy=True)))
            handles.append(engine.add_request(number, tensor, config))
        while engine.has_non_finished_requests():
            engine.step()
            for at, handle in enumerate(handles):
                while handle.can_read():
                    tokens += sum(len(output.generated_ids) for output in handle.read().values())
                    first.setdefault(at, time.perf_counter() - begun)
        wall = time.perf_counter() - begun
        print(json.dumps([tokens, wall, [first[at] for at in range(len(handles))]]), flush=True)


def endless(source: Path, parent: Path) -> Path:
    """The same model under `parent`, its end token one that it never says, so that every answer has full length."""
    if not source.is_dir():
        raise ModelError(f"{source}: the benchmark changes the end token: name a folder")
    config = json.loads((source / "config.json").read_text())
    taken = read_vocabulary(source, config["vocab_size"]).eos
    candidates = (config.get("pad_token_id"), config["vocab_size"] - 1, 0)
    unused = next(token for token in candidates if token is not None and token not in taken)
    folder = parent / source.name
    folder.mkdir()
    changed = {name: {"eos_token_id": unused} for name in ("config.json", "generation_config.json")}
    changed["tokenizer_config.json"] = {"eos_token": "<no end>"}
    for path in source.iterdir():
        if path.name in changed:
            (folder / path.name).write_text(json.dumps(json.loads(path.read_text()) | changed[path.name]))
        else:
            (folder / path.name).symlink_to(path)
    return folder


def children(pid: int) -> list[int]:
    return [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]


def cpu_s(pid: int) -> float:
    """User and system seconds of all threads, to the nanosecond; /proc/PID/stat counts in ticks of 10 ms."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def peak_bytes(pids: Sequence[int]) -> int:
    """Sum of each process's own peak (VmHWM): never below the peak of the sum; shared pages count twice."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 for status in statuses)


def turn(side: Server | Bare, batches: Sequence[Sequence[Prompt]]) -> Turn:
    """One batch after the other."""
    before = [cpu_s(pid) for pid in side.pids]
    answered = [side.answer(batch) for batch in batches]
    used = [cpu_s(pid) - then for pid, then in zip(side.pids, before, strict=True)]
    return Turn(sum(told.tokens for told in answered), sum(told.wall_s for told in answered), used)


class Measured:
    """All rounds: turns by (side, concurrency), and seconds to the first token as (bare, server) pairs."""

    def __init__(self) -> None:
        self.turns: dict[tuple[str, int], list[Turn]] = {}
        self.first: list[tuple[float, float]] = []

    def round(self, number: int, sides: dict[str, Server | Bare], asker: Asker) -> None:
        """One turn each at both concurrencies; who goes first changes from round to round."""
        names = list(sides)
        names = names[number % len(names) :] + names[: number % len(names)]
        for concurrency in (1, 8):
            prompts = [asker.ask(TOKENS, tools=False) for _ in range(ONE_BY_ONE if concurrency == 1 else concurrency)]
            batches = [[prompt] for prompt in prompts] if concurrency == 1 else [prompts]
            for name in names:
                self.turns.setdefault((name, concurrency), []).append(turn(sides[name], batches))
        for probe in range(PROBES):
            prompt = asker.ask(FIRST, tools=True)
            order = ("bare", "server") if (number + probe) % 2 else ("server", "bare")
            took = {name: sides[name].answer([prompt]).first_s[0] for name in order}
            self.first.append((took["bare"], took["server"]))

    def ratios(self, concurrency: int, of: Callable[[Turn], float]) -> list[float]:
        """Server by bare, one for each round."""
        pairs = zip(self.turns["server", concurrency], self.turns["bare", concurrency], strict=True)
        return [of(ours) / of(theirs) for ours, theirs in pairs]

    def median(self, name: str, concurrency: int, of: Callable[[Turn], float]) -> float:
        return statistics.median(of(each) for each in self.turns[name, concurrency])


@contextlib.contextmanager
def sides(model: Path, threads: int) -> Iterator[dict[str, Server | Bare]]:
    """The bare pipeline and two servers, all loaded; an idle one waits on its socket and takes no CPU time."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Server | Bare] = {"bare": Bare(model, threads)}
        stack.callback(found["bare"].close)
        for name, precision in (("server", "bf16"), ("server, int8", "int8")):
            engine = EmbeddedEngine([str(model)], precision=precision, threads=threads, max_seqs=MAX_SEQS)
            found[name] = Server(stack.enter_context(engine))
            stack.callback(found[name].close)
        yield found


def bars(measured: Measured, peak: int) -> list[dict]:
    """Each bar with what it was measured on, the spread over the rounds, and whether it holds."""
    told = []
    for concurrency in (1, 8):
        ratios = measured.ratios(concurrency, lambda each: each.rate)
        by_cpu = measured.ratios(concurrency, lambda each: each.per_cpu_s)
        value = statistics.median(ratios)
        told.append(
            {
                "name": f"tokens/s, server by bare, concurrency {concurrency}",
                "bar": f">= {BAR_RATE:.2f}",
                "value": value,
                "measured": f"{value:.3f} [{min(ratios):.3f}, {max(ratios):.3f}]",
                "beside": f"tokens per CPU-second {statistics.median(by_cpu):.3f} "
                f"[{min(by_cpu):.3f}, {max(by_cpu):.3f}]",
                "holds": value >= BAR_RATE,
            }
        )
    gaps = [(ours - theirs) * 1e3 for theirs, ours in measured.first]
    value, share = statistics.median(gaps), statistics.median(theirs for theirs, _ in measured.first) * 1e3
    told.append(
        {
            "name": "time to first token, server minus bare, concurrency 1",
            "bar": f"<= {BAR_TTFT_MS:g} ms",
            "value": value,
            "measured": f"{value:.2f} ms [{min(gaps):.2f}, {max(gaps):.2f}]",
            "beside": f"bare {share:.2f} ms, {len(gaps)} pairs",
            "holds": value <= BAR_TTFT_MS,
        }
    )
    told.append(
        {
            "name": "peak memory of server and worker",
            "bar": f"<= {BAR_BYTES / 1e9:g} GB",
            "value": peak / 1e9,
            "measured": f"{peak / 1e9:.2f} GB",
            "beside": "sum of each one's peak",
            "holds": peak <= BAR_BYTES,
        }
    )
    return told


def speeds(measured: Measured) -> dict[str, dict[str, float]]:
    """No bar: medians for each side, and the server process's own CPU time for each token."""
    table: dict[str, dict[str, float]] = {}
    for name, concurrency in measured.turns:
        row = table.setdefault({"bare": "bare, bf16", "server": "server, bf16"}.get(name, name), {})
        row[f"tokens/s c{concurrency}"] = measured.median(name, concurrency, lambda each: each.rate)
        row[f"tokens/CPU-s c{concurrency}"] = measured.median(name, concurrency, lambda each: each.per_cpu_s)
        if name != "bare":
            own = measured.median(name, concurrency, lambda each: each.cpu_s[0] / each.tokens * 1e6)
            row[f"server process, CPU µs/token c{concurrency}"] = own
    return table


def report(told: list[dict], table: dict[str, dict[str, float]], setting: str, *, keep: bool) -> None:
    """Print both tables; `keep` appends them to RESULTS.md."""
    rows = [
        [one["name"], one["bar"], one["measured"], one["beside"], "holds" if one["holds"] else "falls short"]
        for one in told
    ]
    heads = ["bar", "must be", "measured [min, max]", "beside", "verdict"]
    columns = list(table["server, bf16"])
    speed_rows = [[name, *(f"{row[key]:.0f}" if key in row else "" for key in columns)] for name, row in table.items()]
    if keep:
        results.publish("Engine", heads, rows, setting)
        results.publish("Engine, speeds", ["no bar", *columns], speed_rows)
        return
    for line in (heads, *rows, ["no bar", *columns], *speed_rows):
        print(" | ".join(line))
    print(setting)


def measure(name: str, rounds: int, threads: int) -> tuple[Measured, int, float]:
    """Measurements after one round to warm up, the server's peak bytes, and its stream events for each token."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRIMTAB_CACHE"] = str(Path(folder) / "cache")
        model = endless(locate(name), Path(folder))
        asker = Asker(model)
        with sides(model, threads) as each:
            Measured().round(0, each, asker)
            measured = Measured()
            for number in range(rounds):
                measured.round(number, each, asker)
            server = each["server"]
            return measured, peak_bytes(server.pids), server.events / server.tokens


def main() -> int:
    """Measure, print each bar beside what it measured; 1 if one falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 rounds in place of 12, nothing appended to RESULTS.md")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--model", default="dealer-teacher", help="a shipped name or a model folder")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="of the engine on both sides; default: every core")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        bare(args.model, args.threads)
        return 0
    rounds = 5 if args.quick else 12
    try:
        measured, peak, events = measure(args.model, rounds, args.threads)
    except TrimtabError as error:
        print(f"engine benchmark: {error}", file=sys.stderr)
        return error.exit_code
    told, table = bars(measured, peak), speeds(measured)
    setting = (
        f"{Path(args.model).name}, bf16, KV u8, {args.threads} engine threads on both sides; {rounds} rounds "
        f"in turns; {TOKENS} greedy tokens an answer, {ONE_BY_ONE} answers in a row at concurrency 1, 8 at once at 8; "
        f"{events:.2f} stream events a token (at most one every {PAUSE * 1e3:g} ms); medians of paired ratios."
    )
    report(told, table, setting, keep=not args.quick)
    if args.json:
        args.json.write_text(json.dumps({"bars": told, "speeds": table, "setting": setting}, indent=1))
    return 0 if all(one["holds"] for one in told) else 1


if __name__ == "__main__":
    sys.exit(main())
