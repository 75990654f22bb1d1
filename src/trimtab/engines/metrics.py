"""What the server has done and how full it is, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable

from trimtab.engines.served import Served


def exposition(models: Iterable[Served]) -> str:
    """The page of GET /metrics: one series a model, requests by how they ended."""
    models = list(models)
    lines: list[str] = []

    def family(name: str, kind: str, text: str, values: Iterable[tuple[str, float]]) -> None:
        full = f"trimtab_engine_{name}"
        lines.extend((f"# HELP {full} {text}", f"# TYPE {full} {kind}"))
        lines.extend(f"{full}{{{labels}}} {value:g}" for labels, value in values)

    def each(read: str) -> Iterable[tuple[str, float]]:
        return [(_label(model), getattr(model.tally, read)) for model in models]

    ended = [
        (f'{_label(model)},outcome="{outcome}"', float(count))
        for model in models
        for outcome, count in sorted(model.tally.requests.items())
    ]
    family("requests_total", "counter", "Requests by how they ended.", ended)
    family("prompt_tokens_total", "counter", "Tokens of prompts.", each("prompt_tokens"))
    family(
        "cached_prompt_tokens_total", "counter", "Of those, found in the prefix cache (est.).", each("cached_tokens")
    )
    family("completion_tokens_total", "counter", "Tokens generated.", each("completion_tokens"))
    family("first_token_seconds_sum", "counter", "Seconds to the first token, summed.", each("first_token_seconds"))
    family("first_token_seconds_count", "counter", "Answers that had a first token.", each("first_tokens"))
    family("drafted_requests_total", "counter", "Answers with drafted tokens.", each("drafted_requests"))
    family("draft_tokens_total", "counter", "Tokens that a drafter proposed (est.).", each("drafted_tokens"))
    family("accepted_draft_tokens_total", "counter", "Of those, taken by the model (est.).", each("taken_tokens"))
    lengths = [
        (f'{_label(model)},concurrency="{start}"', float(length))
        for model in models
        for start, length in model.worker.load.draft_lengths
    ]
    family("draft_length", "gauge", "Tokens drafted a step, from so many answers at once; 0: none.", lengths)
    loads = [(_label(model), model.worker) for model in models]
    family("requests_running", "gauge", "Requests in the last step.", [(key, one.load.running) for key, one in loads])
    family("requests_waiting", "gauge", "Requests not yet in a step.", [(key, one.load.waiting) for key, one in loads])
    family(
        "kv_cache_usage_ratio",
        "gauge",
        "Share of the key-value cache in use.",
        [(k, w.load.kv_usage) for k, w in loads],
    )
    family("worker_restarts_total", "counter", "Starts after a crash.", [(key, one.restarts) for key, one in loads])
    return "\n".join(lines) + "\n"


def _label(model: Served) -> str:
    name = model.name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'model="{name}"'
