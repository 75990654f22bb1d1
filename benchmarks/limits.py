"""What a key's limits cost a request: CPU time of identify, reserve, settle and tidy on a real key database.

`python benchmarks/limits.py [--calls N]`

One process, no network. The same key is used again and again, with a number of its calls under way all the time: by a
gateway that serves alone, and by one of several worker processes. The CPU of the thread that writes is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import results

from trimtab.config import GatewaySettings, shipped_prices
from trimtab.endpoint import Endpoint
from trimtab.gateway import attribution, wire
from trimtab.gateway.chain import Notes, Request
from trimtab.gateway.keyring import Ring
from trimtab.gateway.keys import Key
from trimtab.gateway.limits import Limits
from trimtab.gateway.metrics import Meter
from trimtab.money import Usage

RATES = {"requests_per_minute": 10**9, "tokens_per_minute": 10**12}
BUDGETS = {"day_nanodollars": 10**15, "month_nanodollars": 10**15, "run_nanodollars": 10**15}
ALL = {**RATES, **BUDGETS}
CASES = (
    ("keys are off", None, 0),
    ("none", {}, 0),
    ("three budgets", BUDGETS, 0),
    ("all five", ALL, 0),
    ("all five", ALL, 100),
    ("all five", ALL, 1000),
)
# The machine may be busy.
_ROUNDS = 5
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"' + b"hello " * 100 + b'"}]}'
ENDPOINT = Endpoint(name="bench", url="http://127.0.0.1:9/v1", model="gpt-4o")


async def measured(folder: Path, secret: str, under_way: int, calls: int, shared: bool) -> float:
    """The CPU µs that one request costs, everything that follows from it included."""
    limits = Limits(GatewaySettings(keys="required" if secret else "off"), folder, Meter(), shared=shared)
    prices = shipped_prices()
    headers = ((b"host", b"gateway"), (b"authorization", b"Bearer " + secret.encode()), (b"accept", b"*/*"))
    head = wire.head(BODY)
    who = attribution.of(headers, head)
    account = SimpleNamespace(
        notes=SimpleNamespace(endpoint=ENDPOINT), operation="chat", usage=Usage(input_tokens=120, output_tokens=9)
    )
    call = SimpleNamespace(cost_nanodollars=390_000)

    async def reserve():
        key = limits.identify(headers)
        request = Request(BODY, head, limits.without_keys(headers), ENDPOINT, who, Notes())
        return None if key is None else await limits.reserve(key, request, prices)

    waiting = [await reserve() for _ in range(under_way)]
    began = time.process_time_ns()
    for _ in range(calls):
        waiting.append(await reserve())
        if (reservation := waiting.pop(0)) is not None:
            limits.settle(reservation, call, account)
        await asyncio.sleep(0)
    spent = time.process_time_ns() - began
    for reservation in filter(None, waiting):
        limits.settle(reservation, call, account)
    limits.close()
    return spent / calls / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=5000)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        ring = Ring(Path(name))
        for number, (case, limits, under_way) in enumerate(CASES):
            secret = "" if limits is None else ring.create(Key(name=f"key-{number}", **limits))
            costs = [
                min(asyncio.run(measured(Path(name), secret, under_way, args.calls, shared)) for _ in range(_ROUNDS))
                for shared in (False, True)
            ]
            rows.append((case, str(under_way), *(f"{cost:.0f}" for cost in costs)))
    heads = ("limits of the key", "its calls under way", "CPU µs a request, alone", "one of several")
    results.publish("Keys and limits", heads, rows, f"{args.calls} calls each, the best of {_ROUNDS} rounds.")


if __name__ == "__main__":
    main()
