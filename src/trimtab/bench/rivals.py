"""The same models and requests by llama.cpp and by transformers, each a child process: the engine's own standing.

`python -m trimtab.bench.rivals llama.cpp|transformers FOLDER PRECISION THREADS`: a line of JSON in, a line out. In: the
prompts' token ids and how many at once. Out: for each its answer's ids and seconds. llama.cpp comes as the wheel
xllamacpp, since llama-cpp-python would have to be compiled; transformers runs static batches, as its `generate` does.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from trimtab.bench import attribution, processes
from trimtab.bench.attribution import Journal
from trimtab.bench.cells import Cell, Setup
from trimtab.bench.pairs import Models
from trimtab.bench.player import MAX_TOKENS
from trimtab.bench.traffic import Move, Work, is_right
from trimtab.engines.checkpoint import open_checkpoint
from trimtab.engines.text import Codec
from trimtab.engines.toolcalls import ToolCall, ToolCallParser
from trimtab.engines.vocabulary import read_vocabulary
from trimtab.errors import UpstreamError
from trimtab.levers.speculation.conversations import Reader, Spoken
from trimtab.trace import Call, EndState

NEEDS = {"llama.cpp": ("xllamacpp", "gguf"), "transformers": ("torch", "transformers")}
PRECISIONS = {"llama.cpp": ("bf16", "int8"), "transformers": ("bf16",)}
WARM = {"llama.cpp": attribution.WARM, "transformers": 1}  # sessions; static batches reuse nothing
TEACHERS = 3  # the teacher is asked one session in so many
NAMES = {
    "embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.o_proj": "attn_output", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "model.layers": "blk", "model.": "",
}  # fmt: skip


def run(plan: attribution.Plan, models: Models, journal: Journal, say: Callable[[str], None]) -> list[str]:
    """Measure what the journal lacks, one block; what could not be measured, and what to type for it."""
    missing = []
    for kind, packages in NEEDS.items():
        absent = [name for name in packages if importlib.util.find_spec(name) is None]
        if absent:
            missing.append(f"{kind}: not measured; type  pip install {' '.join(absent)}")
            continue
        for model in ("teacher", "student"):
            for precision in PRECISIONS[kind]:
                setup = Setup(f"{plan.pair} by {kind}", model, precision)
                wanted = [c for c in plan.sessions if (setup, 0, c, "closed") not in journal.done]
                if wanted:
                    say(f"{kind}: {setup.name}")
                    measure(kind, setup, models.folders[f"{plan.pair} {model}"], (plan, wanted, journal))
    return missing


def measure(kind: str, setup: Setup, folder: Path, wanted: tuple[attribution.Plan, Sequence[int], Journal]) -> None:
    """Errors: UpstreamError where the rival ends."""
    plan, concurrencies, journal = wanted
    threads = plan.threads or len(os.sched_getaffinity(0))
    words = [sys.executable, "-m", __name__, kind, str(folder), setup.precision, str(threads)]
    vocabulary = read_vocabulary(folder, 2**31)
    reader, codec = Reader(folder), Codec(vocabulary.tokenizer_json or folder / "tokenizer.json")
    with (
        tempfile.TemporaryFile() as noise,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise) as child,
    ):
        try:
            _asked(child, reader, attribution.works("train", WARM[kind], 900), max(plan.sessions))
            for concurrency in concurrencies:
                works = attribution.works("test", plan.sessions[concurrency], 0, concurrency)
                if setup.model == "teacher":  # by others some of its cells take minutes
                    works = works[: max(concurrency, len(works) // TEACHERS)]
                pids = processes.family(child.pid)
                before = processes.cpu_s(pids)
                told = _asked(child, reader, works, concurrency)
                used = processes.cpu_s(pids) - before
                cell = _cell(setup, concurrency, works, told, codec)
                journal.add(_with(cell, used, processes.peak_mb(pids)))
        finally:
            if child.stdin is not None:
                child.stdin.close()


def _asked(child: subprocess.Popen[bytes], reader: Reader, works: Sequence[Work], concurrency: int) -> dict[str, Any]:
    prompts = [reader.said(_spoken(move))[0] for work in works for move in work.moves]
    if child.stdin is None or child.stdout is None:
        raise UpstreamError("the rival has no pipes: this is a mistake")
    child.stdin.write(json.dumps([prompts, concurrency]).encode() + b"\n")
    child.stdin.flush()
    line = child.stdout.readline()
    if not line:
        raise UpstreamError(f"{child.args!r} ended in the middle: run it by hand to see why")
    told: dict[str, Any] = json.loads(line)
    return told


def _spoken(move: Move) -> Spoken:
    call = Call(id="", trace_id="", span_id="", started_ns=0, duration_ms=0.0, end=EndState.COMPLETE)
    return Spoken(call, [*move.messages, move.right], move.tools)


def _cell(setup: Setup, concurrency: int, works: Sequence[Work], told: dict[str, Any], codec: Codec) -> Cell:
    answers, at, right, sessions = told["answers"], 0, 0, {}
    for work in works:
        good = [is_right(move, _message(codec, answers[at + n])) for n, move in enumerate(work.moves)]
        at, right, sessions[work.name] = at + len(good), right + sum(good), all(good)
    return Cell(
        setup=setup,
        block=0,
        concurrency=concurrency,
        requests=at,
        tokens=sum(map(len, answers)),
        wall_s=told["wall_s"],
        cpu_s=0.0,
        ttft_s=[],
        latency_s=told["seconds"],
        peak_mb=0.0,
        sessions=sessions,
        moves_right=right,
    )


def _with(cell: Cell, used: float, peak: float) -> Cell:
    return msgspec.structs.replace(cell, cpu_s=used, peak_mb=peak)


def _message(codec: Codec, ids: Sequence[int]) -> dict[str, Any]:
    parser = ToolCallParser()
    said = [*parser.push(codec.decode(ids)), *parser.flush()]
    calls = [
        {"function": {"name": each.name, "arguments": each.arguments}} for each in said if isinstance(each, ToolCall)
    ]
    return {"content": "".join(each for each in said if isinstance(each, str)), "tool_calls": calls}


def write_gguf(folder: Path, path: Path, precision: str) -> None:
    """The checkpoint as GGUF: matrices in BF16 or Q8_0. The tokenizer's texts stand in alone; prompts come as ids."""
    import gguf
    import numpy as np

    checkpoint = open_checkpoint(folder)
    shape, vocabulary = checkpoint.shape, read_vocabulary(folder, checkpoint.shape.vocab)
    writer = gguf.GGUFWriter(str(path), shape.kind)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.eps)
    writer.add_rope_freq_base(shape.rope.theta)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{number}" for number in range(shape.vocab)])
    writer.add_token_types([1] * shape.vocab)
    writer.add_token_merges(["t 0"])
    writer.add_eos_token_id(min(vocabulary.eos))
    kind = gguf.GGMLQuantizationType.Q8_0 if precision == "int8" else gguf.GGMLQuantizationType.BF16
    for name in checkpoint.entries:
        array, short = checkpoint.weight(name), name
        for ours, theirs in NAMES.items():
            short = short.replace(ours, theirs)
        if array.ndim == 2:
            writer.add_tensor(short, gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(short, array.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


Answer = Callable[[list[list[int]], int], tuple[list[list[int]], list[float]]]


def llama(folder: Path, precision: str, threads: int, scratch: Path) -> Answer:
    """xllamacpp's server, 16 places, continuous batching, prompts reused."""
    import xllamacpp

    path = scratch / "model.gguf"
    write_gguf(folder, path, precision)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel = 16 * 2048, 16
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.port, params.warmup = 0, True
    server = xllamacpp.Server(params)
    ends = set(read_vocabulary(folder, 2**31).eos)

    def one(prompt: list[int]) -> tuple[list[int], float]:
        body = {
            "prompt": prompt,
            "n_predict": MAX_TOKENS,
            "temperature": 0,
            "cache_prompt": True,
            "return_tokens": True,
        }
        begun = time.perf_counter()
        request = urllib.request.Request(
            f"{server.listening_address}/completion", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=600) as response:
            told = json.load(response)
        return [token for token in told["tokens"] if token not in ends], time.perf_counter() - begun

    def answer(prompts: list[list[int]], concurrency: int) -> tuple[list[list[int]], list[float]]:
        with ThreadPoolExecutor(concurrency) as pool:
            told = list(pool.map(one, prompts))
        return [ids for ids, _ in told], [seconds for _, seconds in told]

    return answer


def transformers(folder: Path, precision: str, threads: int, scratch: Path) -> Answer:
    """`generate` on batches padded to the left."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    ends = sorted(read_vocabulary(folder, 2**31).eos)

    def answer(prompts: list[list[int]], concurrency: int) -> tuple[list[list[int]], list[float]]:
        said: list[list[int]] = []
        seconds: list[float] = []
        for at in range(0, len(prompts), concurrency):
            some = prompts[at : at + concurrency]
            width = max(map(len, some))
            ids = torch.tensor([[0] * (width - len(each)) + each for each in some])
            mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in some])
            begun = time.perf_counter()
            with torch.no_grad():
                made = model.generate(
                    ids,
                    attention_mask=mask,
                    max_new_tokens=MAX_TOKENS,
                    do_sample=False,
                    eos_token_id=ends,
                    pad_token_id=0,
                )[:, width:].tolist()
            seconds += [time.perf_counter() - begun] * len(some)
            said += [_until(each, ends) for each in made]
        return said, seconds

    return answer


def _until(ids: list[int], ends: Sequence[int]) -> list[int]:
    place = next((at for at, token in enumerate(ids) if token in ends), len(ids))
    return ids[:place]


def main(words: Sequence[str]) -> None:
    """The child."""
    kind, folder, precision, threads = words
    own = os.dup(1)
    os.dup2(2, 1)  # the libraries print to standard output
    with tempfile.TemporaryDirectory() as scratch, os.fdopen(own, "w") as out:
        make = llama if kind == "llama.cpp" else transformers
        answer = make(Path(folder), precision, int(threads), Path(scratch))
        for line in sys.stdin:
            prompts, concurrency = json.loads(line)
            begun = time.perf_counter()
            answers, seconds = answer(prompts, concurrency)
            told = {"answers": answers, "seconds": seconds, "wall_s": time.perf_counter() - begun}
            out.write(json.dumps(told) + "\n")
            out.flush()
    os._exit(0)  # a server's own threads may outlive it


if __name__ == "__main__":
    main(sys.argv[1:])
