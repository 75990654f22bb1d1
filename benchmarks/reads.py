"""How fast logs are read, and in how much memory: calls of 2 kB in each vendor's format, one process each.

    python benchmarks/reads.py [--quick] [--json FILE]

CPU seconds of the reading process from the first byte to the last record, each with its Call built and its bodies left
as JSON texts. It reads 20,000 calls of each, and of the pairs, but for `--quick`, a million.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import results

BAR_CALLS, BAR_MB = 20_000, 1_000
SIZE = 2_000
MODEL = "gpt-4o"
SYSTEM = "You sell cars. Be short, be polite, and never promise a price that is not on the list. " * 4
ANSWER = "The red Volvo is still there and costs 24,900; shall I book a test drive for you? "
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}]
USAGE = {"prompt_tokens": 400, "completion_tokens": 90, "prompt_tokens_details": {"cached_tokens": 60}}
START_NS = 1_763_812_800 * 10**9


def bodies(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f'Is "car {number}" red?'}]
    message = {"role": "assistant", "content": ANSWER}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    answer = {"id": f"r{number}", "created": START_NS // 10**9, "model": MODEL, "choices": choices, "usage": USAGE}
    return {"model": MODEL, "messages": messages, "tools": TOOLS}, answer


def padded(row: dict[str, Any], messages: list[dict[str, Any]]) -> bytes:
    """The row as a line of 2 kB: what is missing is put into the first message."""
    missing = SIZE - len(json.dumps(row)) - 1
    messages[0]["content"] += "x" * max(0, missing)
    return json.dumps(row).encode() + b"\n"


def openai(number: int) -> bytes:
    return _pair().replace(b"100000000", b"%d" % (100_000_000 + number))


@cache
def _pair() -> bytes:
    """Of which a million are made quickly."""
    request, response = bodies(100_000_000)
    return padded({"request": request, "response": response, "workflow": "w", "agent": "a"}, request["messages"])


def litellm(number: int) -> bytes:
    request, response = bodies(number)
    row = {"request_id": f"r{number}", "call_type": "acompletion", "spend": 0.001, "prompt_tokens": 400}
    row |= {"completion_tokens": 90, "startTime": "2025-11-22T12:00:00.123", "endTime": "2025-11-22T12:00:01.123"}
    row |= {"model": MODEL, "metadata": {"usage_object": USAGE}, "response": response, "status": "success"}
    return padded(row | {"proxy_server_request": request}, request["messages"])


def helicone(number: int) -> bytes:
    request, response = bodies(number)
    row = {"request_id": f"r{number}", "request_created_at": "2025-11-22T12:00:00.123Z", "response_status": 200}
    row |= {"delay_ms": 1000, "prompt_tokens": 400, "completion_tokens": 90, "model": MODEL, "cost": 0.001}
    return padded(row | {"request_body": request, "response_body": response}, request["messages"])


def langfuse(number: int) -> bytes:
    request, response = bodies(number)
    row = {"id": f"o{number}", "traceId": f"t{number}", "type": "GENERATION", "model": MODEL}
    row |= {"startTime": "2025-11-22T12:00:00.123Z", "endTime": "2025-11-22T12:00:01.123Z"}
    row |= {"usageDetails": {"input": 340, "input_cached_tokens": 60, "output": 90}, "totalCost": 0.001}
    row |= {"input": request["messages"], "output": response["choices"][0]["message"]}
    return padded(row, request["messages"])


def attributes(number: int) -> dict[str, Any]:
    request, _ = bodies(number)
    held = {"gen_ai.operation.name": "chat", "gen_ai.request.model": MODEL, "gen_ai.agent.name": "sales"}
    held |= {"gen_ai.usage.input_tokens": 400, "gen_ai.usage.output_tokens": 90}
    asked = [
        {"role": one["role"], "parts": [{"type": "text", "content": one["content"]}]} for one in request["messages"]
    ]
    asked[0]["parts"][0]["content"] += "x" * 650
    said = [{"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}]
    return held | {"gen_ai.input.messages": json.dumps(asked), "gen_ai.output.messages": json.dumps(said)}


def span(number: int) -> dict[str, Any]:
    named = [
        {"key": name, "value": {"intValue": str(held)} if isinstance(held, int) else {"stringValue": held}}
        for name, held in attributes(number).items()
    ]
    times = {"startTimeUnixNano": str(START_NS + number), "endTimeUnixNano": str(START_NS + number + 10**9)}
    return {"traceId": f"{number:032x}", "spanId": f"{number:016x}", "name": "chat", **times, "attributes": named}


def otlp(number: int) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span(number)]}]}]}).encode() + b"\n"


def protobuf(number: int) -> bytes:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    message = ExportTraceServiceRequest()
    made = message.resource_spans.add().scope_spans.add().spans.add()
    made.trace_id, made.span_id, made.name = number.to_bytes(16, "big"), (number + 1).to_bytes(8, "big"), "chat"
    made.start_time_unix_nano, made.end_time_unix_nano = START_NS, START_NS + 10**9
    for name, held in attributes(number).items():
        value = made.attributes.add(key=name).value
        if isinstance(held, int):
            value.int_value = held
        else:
            value.string_value = held
    return message.SerializeToString()


def phoenix(number: int) -> bytes:
    request, response = bodies(number)
    held = {"llm.model_name": MODEL, "llm.token_count.prompt": 400, "llm.token_count.completion": 90}
    held["llm.input_messages"] = [{"message": one} for one in request["messages"]]
    held["llm.output_messages"] = [{"message": response["choices"][0]["message"]}]
    row = {"name": "ChatCompletion", "context": {"trace_id": f"{number:032x}", "span_id": f"{number:016x}"}}
    row |= {"start_time": "2025-11-22T12:00:00.123Z", "end_time": "2025-11-22T12:00:01.123Z", "status_code": "OK"}
    return padded(row | {"span_kind": "LLM", "attributes": held}, request["messages"])


FORMATS: dict[str, Callable[[int], bytes]] = {
    "pairs, JSONL": openai,
    "pairs, JSONL, gzip": openai,
    "LiteLLM, JSONL": litellm,
    "LiteLLM, JSON array": litellm,
    "Helicone, JSONL": helicone,
    "Langfuse, JSONL": langfuse,
    "Phoenix, JSONL": phoenix,
    "OTLP, JSON": otlp,
    "OTLP, protobuf": protobuf,
    "Trimtab's store": openai,
}


def written(name: str, calls: int, folder: Path) -> Path:
    """A log of `calls` calls."""
    path = folder / "log"
    make = FORMATS[name]
    texts: Iterator[bytes] = (make(number) for number in range(calls))
    with gzip.open(path, "wb", 1) if "gzip" in name else path.open("wb") as file:
        if "array" in name:
            file.write(b"[" + b",".join(texts) + b"]")
        else:
            for text in texts:
                file.write(text)
    if name != "Trimtab's store":
        return path
    from trimtab.config import shipped_prices
    from trimtab.store.importers import import_file
    from trimtab.store.writer import TraceWriter

    with TraceWriter(folder / "store") as writer:
        import_file(path, writer, shipped_prices())
    return folder / "store"


def reading(path: Path) -> dict[str, float]:
    """CPU seconds and peak memory of reading all of `path`, in this process."""
    from trimtab.config import shipped_prices
    from trimtab.store.logs import ImportReport, records

    report, prices = ImportReport(), shipped_prices()
    before = time.process_time()
    for _ in records(path, prices, report=report):
        pass
    seconds = time.process_time() - before
    if report.bad or report.known:
        sys.exit(f"{report.bad} bad and {report.known} known: {report.samples}")
    return {"calls": report.read, "cpu_s": seconds, "mb": peak_mb()}


def peak_mb() -> float:
    """Of this program alone: the figure of getrusage begins with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def measured(name: str, calls: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = written(name, calls, Path(folder))
        command = [sys.executable, __file__, "--read", str(path)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            sys.exit(f"{name}: {run.stderr}")
        figures: dict[str, Any] = json.loads(run.stdout)
        size = sum(one.stat().st_size for one in (path.iterdir() if path.is_dir() else [path])) / calls
    rate = figures["calls"] / figures["cpu_s"]
    holds = rate >= BAR_CALLS and figures["mb"] <= BAR_MB
    return {"format": name, **figures, "bytes": size, "calls_a_second": rate, "holds": holds}


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    figures = (f"{row['calls']:,}", f"{row['bytes']:,.0f}", f"{row['calls_a_second']:,.0f}", f"≥ {BAR_CALLS:,}")
    verdict = "holds" if row["holds"] else "falls short"
    return row["format"], *figures, f"{row['mb']:,.0f}", f"≤ {BAR_MB:,}", verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(reading(args.read)))
        return 0
    few, many = (20_000, 20_000) if args.quick else (20_000, 1_000_000)
    rows = [measured(name, many if name == "pairs, JSONL" else few) for name in FORMATS]
    heads = ("format", "calls", "bytes a call", "calls/s/core", "bar", "peak MB", "bar", "")
    table = [cells(row) for row in rows]
    results.publish("Reading logs", heads, table, "CPU seconds of one process, bodies left as JSON texts.")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
