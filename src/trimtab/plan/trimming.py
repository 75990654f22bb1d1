"""Levers that make the same call cheaper or quicker: prefix layout, shorter prompts, speculation, reuse of blocks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

from trimtab.levers import lookup, narrowness
from trimtab.levers.examples import Example
from trimtab.plan.case import Case
from trimtab.plan.replacing import LEAST, shown, skipped
from trimtab.plan.worth import Effort, Evidence, Word, Worth
from trimtab.trace import Record

BLOCK = 1024  # characters, about 256 tokens
FEWEST_BLOCKS = 4  # providers cache prompts from about 1,024 tokens on
TTL_NS = 300 * 10**9  # how long a provider keeps a prefix that no one reads
MOST = 2000  # calls looked at
MOST_BLOCKS = 200  # of a prompt
OFFERED = 30  # times that a tool must have been offered to be called unused
EAGER = (0.0, 0.7)  # of the gain at one request at a time: at 16 at once nothing is left of it (LOG.md)


def prefix_layout(its: Case) -> Worth:
    """Prompts laid out so that the provider's prefix cache holds: what could be read from it against what was."""
    name, some = "exact prefix layout", its.examples[:MOST]
    usage = its.usage
    if its.price is None or its.price.cache_read is None or not some or not usage.input_tokens:
        return skipped(its, name, "the price of cached input is not known, or no call has both its bodies")
    had = usage.cache_read_tokens / usage.input_tokens
    found = reusable([(each.call.started_ns, _blocks(each)) for each in some], TTL_NS, FEWEST_BLOCKS)
    template = narrowness.template_share([each.prompt for each in narrowness.thinned(some, 100)])
    long = sum(each.call.usage.input_tokens >= 1024 for each in some) / len(some)
    off = 1 - its.price.cache_read / its.price.input if its.price.input else 0.0
    # What the fresh input costs, by how much of all input is fresh, gives what a share of the input is worth.
    worth = off * its.bill.fresh / max(1e-9, 1 - had)
    gap, most = max(0.0, found - had), max(0.0, max(found, template * long) - had)
    word = Word.WORTH if gap * worth >= LEAST else Word.TRY if most * worth >= LEAST else Word.NO
    prefill = its.prefill or 0.0
    return Worth(
        workflow=its.agent[0],
        agent=its.agent[1],
        lever=name,
        word=word,
        says=f"{had:.0%} of input came from the provider's cache, {found:.0%} stood at the head of an earlier prompt, "
        f"{template:.0%} is the same in every other prompt",
        n=len(some),
        saving=gap * worth,
        low=0.0,
        high=most * worth,
        seconds=gap * prefill,
        seconds_high=most * prefill,
        evidence=Evidence.COUNTED,
        missing=("that the provider routes like prompts to one cache", "what a cache write costs, where it is priced"),
        risk="none: the model reads the same"
        if most <= gap
        else "what changes goes to the end: the model reads it there",
        effort=Effort.HOURS,
        breaks="a timestamp or an id at the head, tools in another order, pauses of over five minutes",
        method=f"hash chain over blocks of {BLOCK} characters, kept five minutes; {off:.0%} off for a cached token",
        facts={"had": had, "possible": found, "template": template, "long_enough": long},
    )


def block_reuse(its: Case) -> Worth:
    """Of a server of one's own: prefill that a kept KV cache saves, without limit of size or time."""
    rows = [(record.call.started_ns, found) for record in its.records[: 5 * MOST] if (found := _hashes(record))]
    rows = rows or [(each.call.started_ns, _blocks(each)) for each in its.examples[:MOST]]
    if not rows:
        return skipped(its, "KV reuse", "neither bodies nor block ids are recorded")
    share = reusable(rows, None, 1)
    prefill = its.prefill
    part = prefill if prefill is not None else 0.3
    return Worth(
        workflow=its.agent[0],
        agent=its.agent[1],
        lever="KV reuse",
        word=Word.TRY if share * part >= LEAST else Word.NO,
        says=f"of the prompt blocks of the {len(rows):,} calls looked at, {share:.1%} stood in an earlier one; "
        "a server of your own computes them once",
        n=len(rows),
        seconds=share * part * 0.5,
        seconds_high=share * part,
        evidence=Evidence.COUNTED,
        missing=(
            "a server of one's own; its cache's size",
            *(() if prefill is not None else ("times to first token",)),
        ),
        risk="none: the same tokens",
        effort=Effort.DAYS,
        breaks="more live prefixes than memory holds",
        method="hash chain over blocks, unlimited cache; half of it as the middle",
        facts={"reused": share},
    )


def reusable(rows: Sequence[tuple[int, Sequence[bytes]]], ttl_ns: int | None, fewest: int) -> float:
    """The share of blocks whose whole chain stood at the head of a prompt before, within `ttl_ns`; prompts with fewer
    than `fewest` such blocks count none. `rows` are (when, blocks), each block's id that of the chain up to it."""
    last: dict[bytes, int] = {}
    reused = total = 0
    for when, chain in rows:
        good = 0
        for block in chain:
            before = last.get(block)
            if before is None or (ttl_ns is not None and when - before > ttl_ns):
                break
            good += 1
        reused += good if good >= fewest else 0
        total += len(chain)
        last.update(dict.fromkeys(chain, when))
    return reused / total if total else 0.0


def _blocks(each: Example) -> list[bytes]:
    text = each.prompt[: BLOCK * MOST_BLOCKS].encode()
    chain, found = hashlib.blake2b(each.call.response_model.encode(), digest_size=12), []
    for start in range(0, len(text), BLOCK):
        chain.update(text[start : start + BLOCK])
        found.append(chain.digest())
    return found


def _hashes(record: Record) -> list[bytes]:
    """Block ids that a length-only trace gives, chained."""
    ids = record.payload.request.get("hash_ids") if record.payload is not None else None
    if isinstance(ids, bytes):
        return []
    if ids is not None and not isinstance(ids, list):
        ids = record.payload.decoded().request.get("hash_ids") if record.payload is not None else None
    return [str(each).encode() for each in ids] if isinstance(ids, list) else []


def shorter_prompts(its: Case) -> Worth:
    """Tools that no answer ever asked for, taken out of the schema."""
    some = its.examples[:MOST]
    if not some:
        return skipped(its, "shorter prompts", "no call has both its bodies")
    offered: Counter[str] = Counter(name for each in some for name in each.tools)
    called = {name for each in some for name, _ in each.calls}
    spare = sorted(name for name, times in offered.items() if times >= OFFERED and name not in called)
    total = sum(len(each.prompt) for each in some) or 1
    unused = sum(len(text) for each in some for name, text in each.tools.items() if name in spare) / total
    old = sum(sum(map(len, each.turns[:-6])) for each in some) / total
    part = its.bill.fresh + its.bill.cached
    least = min((offered[name] for name in spare), default=0)
    most = unused + old
    word = Word.WORTH if unused * part >= LEAST else Word.TRY if most * part >= LEAST else Word.NO
    return Worth(
        workflow=its.agent[0],
        agent=its.agent[1],
        lever="shorter prompts",
        word=word,
        says=f"{len(spare)} of {len(offered)} tools were never asked for: {unused:.0%} of the prompt; turns before the "
        f"last six are {old:.0%} of it",
        n=len(some),
        saving=unused * part,
        low=0.0,
        high=most * part,
        seconds=unused * (its.prefill or 0.0),
        seconds_high=most * (its.prefill or 0.0),
        quality=min(1.0, 3 / least) if spare else 0.0,
        evidence=Evidence.COUNTED,
        missing=("the same tasks with the short prompt, by the gate",),
        risk="a tool that is needed rarely" if spare else "old turns that still matter",
        effort=Effort.HOURS,
        breaks="the first task that needs what was cut",
        method=f"tools offered at least {OFFERED} times; a tool unused in n calls may be used in 3/n of them (95 %)",
        facts={"unused_tools": [shown(name) for name in spare[:20]], "unused": unused, "old_turns": old},
    )


def speculation(its: Case) -> Worth:
    """Look-up drafting played on the recorded outputs: seconds, no money where tokens are what is paid."""
    some = its.examples
    if not some:
        return skipped(its, "speculation", "no call has both its bodies")
    found = lookup.measure(some)
    decode = 1 - (its.prefill if its.prefill is not None else 0.3)

    def gain(per_step: float, eager: float) -> float:
        return decode * (1 - 1 / (1 + (per_step - 1) * eager))

    most = gain(found.high, 1.0)
    return Worth(
        workflow=its.agent[0],
        agent=its.agent[1],
        lever="speculation",
        word=Word.TRY if most >= LEAST and found.per_step >= 1.2 else Word.NO,
        says=f"{found.per_step:.2f} [{found.low:.2f}, {found.high:.2f}] pieces a run of the model by look-up alone; "
        f"{found.accepted:.0%} of drafted pieces right",
        n=found.n,
        seconds=gain(found.per_step, EAGER[1]),
        seconds_low=gain(found.low, EAGER[0]),
        seconds_high=most,
        evidence=Evidence.MEASURED,
        missing=("a server of one's own", "how many requests it serves at once: at 16 nothing is left of the gain"),
        risk="none: greedy answers are the same token for token",
        effort=Effort.OPTION,
        breaks="prompts that change; many requests at once",
        method=f"drafts of {lookup.DRAFT} by the last {lookup.LONGEST} or {lookup.SHORTEST} pieces, on {found.n} calls",
        facts={"per_step": found.per_step, "accepted": found.accepted},
    )


ALL = (prefix_layout, block_reuse, shorter_prompts, speculation)


def every(its: Case) -> Iterator[Worth]:
    for estimate in ALL:
        yield estimate(its)
