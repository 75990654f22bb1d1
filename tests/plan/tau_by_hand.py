"""Calls, tokens and cost of tau-bench's trajectories, straight from the file: nothing of Trimtab is imported.

A call is an assistant message: it read all messages before it. A token is four characters of what is said in a message,
its name and its tool calls; gpt-4o's list price is 2.50 USD a million tokens in, 10 USD out.
Run it: `python tests/plan/tau_by_hand.py ../shared/data/tau_bench/gpt-4o-airline.json`.
"""

import json
import sys
from collections import Counter
from pathlib import Path


def characters(message):
    total = len(message["content"] or "") + len(message["role"])
    for name in ("name", "tool_call_id"):
        total += len(message.get(name) or "")
    for call in message.get("tool_calls") or []:
        total += sum(map(len, (call["id"], call["type"], call["function"]["name"], call["function"]["arguments"])))
    return total


def add_up(path):
    tasks = json.loads(Path(path).read_text(encoding="utf-8"))
    rows = []
    for task in tasks:
        before = calls = tokens_in = tokens_out = repeats = 0
        seen = Counter()
        for message in task["traj"]:
            size = characters(message)
            if message["role"] == "assistant":
                calls += 1
                tokens_in += before / 4
                tokens_out += size / 4
                for call in message.get("tool_calls") or []:
                    seen[call["function"]["name"], str(json.loads(call["function"]["arguments"]))] += 1
            before += size
        repeats = sum(times - 1 for times in seen.values())
        usd = tokens_in * 2.5e-6 + tokens_out * 10e-6
        row = {"solved": task["reward"] >= 0.5, "messages": len(task["traj"]), "calls": calls, "usd": usd}
        rows.append({**row, "in": tokens_in, "out": tokens_out, "repeats": repeats})
    return rows


if __name__ == "__main__":
    tasks = add_up(sys.argv[1])
    for name in ("calls", "in", "out", "usd", "repeats"):
        print(f"{name:8} {sum(task[name] for task in tasks):,.4g}")
    for solved in (True, False):
        its = [task for task in tasks if task["solved"] is solved]
        messages, usd = (sum(task[name] for task in its) / len(its) for name in ("messages", "usd"))
        print(f"{'solved' if solved else 'unsolved'} {len(its)}: {messages:.1f} messages, {usd:.4f} USD a task")
