"""CPU milliseconds per request of the gateway process, plain and streamed, with a bare aiohttp pass-through beside it.

Fake upstream, floor and gateway are processes of their own; this one makes the load. Rounds are interleaved. CPU time
is user + system of the measured process, all threads (/proc/PID/task/*/schedstat), so waiting costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp
import results

from trimtab.gateway.process import GatewayProcess

BAR_MS = 2.0
EVENTS = 32
PAUSE_S = 0.002
BODY = {
    "model": "bench",
    "messages": [
        {"role": "system", "content": "You sell cars. " * 60},
        {"role": "user", "content": "Have you a red one? " * 10},
    ],
    "tools": [
        {"type": "function", "function": {"name": f"tool_{n}", "parameters": {"type": "object"}}} for n in range(8)
    ],
}
CONFIG = """
endpoints = [{{ name = "bench", url = "{url}", model = "bench" }}]
[store]
folder = "{folder}"
[prices.models]
"bench" = {{ input = 1.0, output = 2.0 }}
"""


def chunk(delta: dict, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    whole = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": [choice]}
    return b"data: " + json.dumps(whole).encode() + b"\n\n"


def fake_upstream():
    """An app that answers at once if plain, and in EVENTS paced events if streamed."""
    from aiohttp import web

    usage = {"prompt_tokens": 400, "completion_tokens": EVENTS}
    message = {"role": "assistant", "content": "word " * EVENTS}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    plain = json.dumps({"id": "c", "model": "bench", "choices": [choice], "usage": usage}).encode()
    last = b"data: " + json.dumps({"id": "c", "model": "bench", "choices": [], "usage": usage}).encode() + b"\n\n"
    events = [chunk({"content": "word "}, None)] * (EVENTS - 3) + [chunk({}, "stop"), last, b"data: [DONE]\n\n"]

    async def answer(request):
        body = json.loads(await request.read())
        if not body.get("stream"):
            return web.Response(body=plain, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            await response.write(event)
            await asyncio.sleep(PAUSE_S)
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    return app


def floor(url: str):
    """The least a Python proxy can do with the same client library: bytes in, bytes out, nothing read."""
    from aiohttp import web

    async def client(app):
        app["client"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        yield
        await app["client"].close()

    async def passes(request):
        body = await request.read()
        async with request.app["client"].post(url + "/chat/completions", data=body) as upstream:
            response = web.StreamResponse(headers={"Content-Type": upstream.headers["Content-Type"]})
            await response.prepare(request)
            async for data in upstream.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response

    app = web.Application()
    app.cleanup_ctx.append(client)
    app.router.add_post("/v1/chat/completions", passes)
    return app


def serve(role: str, url: str) -> None:
    """Run one of the two small servers on a free port; prints its url."""
    from aiohttp import web

    async def run():
        runner = web.AppRunner(fake_upstream() if role == "upstream" else floor(url), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await runner.cleanup()

    import uvloop

    uvloop.run(run())


class Child:
    """One of the small servers as a process; it ends when its standard input closes."""

    def __init__(self, role: str, url: str = "") -> None:
        command = [sys.executable, __file__, "--role", role, "--url", url]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def cpu_s(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task")
    return sum(int(path.read_text().split()[0]) for path in tasks.glob("*/schedstat")) / 1e9


async def load(url: str, stream: bool, count: int, concurrency: int) -> None:
    """`count` requests, each read to its end and checked."""
    body = json.dumps({**BODY, "stream": stream} if stream else BODY).encode()
    left = iter(range(count))
    async with aiohttp.ClientSession() as client:

        async def worker():
            for _ in left:
                async with client.post(url + "/chat/completions", data=body) as response:
                    content = await response.read()
                    assert response.status == 200 and (content.endswith(b"[DONE]\n\n") or not stream), content[:200]

        await asyncio.gather(*(worker() for _ in range(concurrency)))


def measure(servers: dict[str, tuple[str, int]], counts: dict[str, int], rounds: int) -> dict[str, dict[str, float]]:
    """Median CPU ms per request of each server and kind, over interleaved rounds after one to warm up."""
    taken: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for kind, count in counts.items():
            for name, (url, pid) in servers.items():
                before = cpu_s(pid)
                asyncio.run(load(url, kind == "streamed", count if number else count // 4, 8))
                # What the recorder still has to write belongs to these requests.
                asyncio.run(asyncio.sleep(0.5))
                if number:
                    taken.setdefault((name, kind), []).append((cpu_s(pid) - before) * 1e3 / count)
    return {name: {kind: round(statistics.median(taken[name, kind]), 3) for kind in counts} for name in servers}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer requests, nothing appended to RESULTS.md")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        serve(args.role, args.url)
        return 0
    counts, rounds = ({"plain": 200, "streamed": 100}, 2) if args.quick else ({"plain": 1000, "streamed": 400}, 5)
    with tempfile.TemporaryDirectory() as folder, Child("upstream") as upstream, Child("floor", upstream.url) as floor_:
        config = Path(folder) / "trimtab.toml"
        config.write_text(CONFIG.format(url=upstream.url, folder=Path(folder) / "store"))
        with GatewayProcess(config) as gateway:
            servers = {"bare aiohttp pass-through": (floor_.url, floor_.pid), "trimtab": (gateway.url, gateway.pid)}
            cpu_ms = measure(servers, counts, rounds)
    holds = cpu_ms["trimtab"]["streamed"] <= BAR_MS
    verdict = f"<= {BAR_MS:g} ms CPU per streamed call: {'holds' if holds else 'falls short'}"
    rows = [[name, f"{row['plain']:.2f}", f"{row['streamed']:.2f}"] for name, row in cpu_ms.items()]
    setting = (
        f"Median of {rounds} interleaved rounds of {counts['plain']} plain and {counts['streamed']} streamed requests, "
        f"concurrency 8, a stream is {EVENTS} events {PAUSE_S * 1e3:g} ms apart, recording on. **{verdict}**"
    )
    heads = ["CPU ms per request", "plain", "streamed"]
    if args.quick:
        print(heads, *rows, sep="\n")
    else:
        results.publish("Gateway", heads, rows, setting)
    print(verdict)
    if args.json:
        args.json.write_text(json.dumps({"cpu_ms": cpu_ms, "setting": setting, "holds": holds}, indent=1))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
