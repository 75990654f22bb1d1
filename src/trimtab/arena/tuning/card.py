"""The card of a shipped model: what it is, what it was trained on, and how well it does. Text from measured values only."""

from __future__ import annotations

from typing import Any

from trimtab.arena.outcome import Outcome

CARD = """\
# {name}

A {parameters:.2f}M-parameter transformer in the standard Qwen3 layout with its own byte-level BPE and chat template. It
plays the four agents of the [dealership](../../../../docs/arena.md) (triage, sales, finance, service) and knows
nothing else. Trained by this project with `make models`; licence Apache-2.0.

| what | figure |
|---|---|
| shape | {shape} |
| size on disk | {megabytes:.1f} MB, bf16 |
| data | the oracle's own sessions on the train split, each seen once: {tokens:.2f}M tokens, of them {counted:.2f}M assistant tokens that the loss counts (end of turn included); between {begin:.0%} and {end:.0%} of the steps, sessions with a rare move (a new customer, a time that is taken, a rate of four digits) come more often{taught} |
| steps, seed | {steps:,}, seed {seed}, torch {torch} |
| loss | {loss:.4f} on the last training batch, {held_out:.4f} on the validation split (unseen templates) |
| turns reproduced token for token | {turns:.1%} of the validation split's |
| **task success, test split** | **{success:.1%}** of {n} sessions (95 % interval {low:.1%} to {high:.1%}), greedy, precision {precision}, in ten draws of tasks |
| hand-offs as the oracle's | {handoffs:.1%} of {handoff_n} |

The test split shares no template with the training data. Names, car models, services, days and times come from the
same closed lists in every split; ids, prices and phone numbers are drawn anew.

| goal family | solved | of |
|---|---|---|
{families}

Most frequent faults: {faults}.

`training.json` beside this file holds the whole loss curve.
"""


def card(name: str, config: dict[str, Any], record: dict[str, Any], megabytes: float, result: Outcome, how: str) -> str:
    """The README of one model folder; `how` is the precision it was measured at."""
    last = record["log"][-1]
    shape = (
        f"{config['num_hidden_layers']} layers, hidden {config['hidden_size']}, {config['num_attention_heads']} heads "
        f"({config['num_key_value_heads']} for keys and values), vocabulary {config['vocab_size']:,}, "
        f"context {config['max_position_embeddings']:,}"
    )
    faults = ", ".join(f"{kind} ({count})" for kind, count in list(result.faults.items())[:4]) or "none"
    return CARD.format(
        name=name,
        taught=_taught(record),
        begin=record["rare"][0],
        end=record["rare"][1],
        parameters=record["parameters"] / 1e6,
        shape=shape,
        megabytes=megabytes,
        tokens=record["tokens"] / 1e6,
        counted=record["counted_tokens"] / 1e6,
        steps=record["steps"],
        seed=record["seed"],
        torch=record["torch"],
        loss=last["loss"],
        held_out=last["held_out"],
        turns=last["turns"],
        success=result.success.value,
        n=result.success.n,
        low=result.success.low,
        high=result.success.high,
        precision=how,
        handoffs=result.handoffs.value,
        handoff_n=result.handoffs.n,
        families="\n".join(f"| {family} | {share.good} | {share.n} |" for family, share in result.families.items()),
        faults=faults,
    )


def _taught(record: dict[str, Any]) -> str:
    """Of a student: whose logits it learned, and from when on."""
    if "teacher" not in record:
        return ""
    return f"; from {record['distil']:.0%} of the steps on, half of the loss is the KL to the logits of {record['teacher']}"
