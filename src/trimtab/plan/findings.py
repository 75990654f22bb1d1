"""What an audit finds, as frozen values. Computes nothing.

Money is in nano-dollars, times are in ms or seconds as the name says. Every text in here is fit to be shown: secrets
and structured personal data are masked. `look_at` are the ids of at most five calls that show the finding best.
"""

from __future__ import annotations

import enum

import msgspec

from trimtab.plan.spending import Spend
from trimtab.plan.timeline import Stage
from trimtab.trace import EndState


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measured number. [`low`, `high`] is its 95 % interval, None where there is none to give (`n` too small);
    `n` counts what `unit_of_n` names, `method` says in a few words how value and interval were made."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit_of_n: str = "calls"
    method: str = ""
    look_at: tuple[str, ...] = ()


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at with its bodies, step by step: whole sessions, chosen by the hash of `seed` and their names.
    `share` is the chance that a session was taken (1: all were); `cut` sessions were longer than is kept of one."""

    sessions: int = 0
    calls: int = 0
    share: float = 1.0
    cut: int = 0
    with_bodies: int = 0
    seed: int = 0


# 1. Where it goes


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """All calls of one workflow, agent (of a workflow) or model. `share` is of the known cost, None where that is 0;
    `failed` did not complete; latencies are of complete calls."""

    name: str
    workflow: str = ""
    calls: int
    failed: int
    spend: Spend
    share: float | None
    per_call: Figure
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    reasoning_tokens: int
    latency_p50_ms: float | None
    latency_p90_ms: float | None
    latency_p99_ms: float | None
    ttft_p50_ms: float | None
    ttft_p90_ms: float | None
    look_at: tuple[str, ...] = ()


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """One mined prompt template: `text` is its constant text with `…` for each of its `slots`, `constant` the share of
    the prompt's characters that is constant; `share` is of the sample's cost (of its calls where nothing is priced)."""

    workflow: str
    agent: str
    text: str
    slots: int
    constant: float
    calls: int
    distinct: int
    spend: Spend
    share: Figure
    input_tokens: int
    output_tokens: int
    latency_p50_ms: float | None
    look_at: tuple[str, ...] = ()


class Part(enum.StrEnum):
    """What tokens were for."""

    SYSTEM = "system prompt"
    TOOLS = "tool definitions"
    HISTORY = "history"  # the turns before the newest one
    RETRIEVED = "retrieved text"
    RESULTS = "tool results"  # the newest ones
    ASKED = "newest message"
    OUTPUT = "output"


class PartUse(msgspec.Struct, frozen=True, kw_only=True):
    """One part's share of the tokens of an agent ('' for all): its share of the request's bytes times the input
    tokens. `nanodollars` is its estimated cost, None where no price table was given or none of the calls is in it."""

    workflow: str
    agent: str
    part: Part
    share: Figure
    tokens: int
    nanodollars: int | None


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """Money without an answer: calls that ended in `end`, or, where that is None, calls that asked again what had just
    failed (`retry`)."""

    kind: str
    end: EndState | None
    spend: Spend
    share: Figure


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Each largest first."""

    workflows: tuple[Use, ...] = ()
    agents: tuple[Use, ...] = ()
    models: tuple[Use, ...] = ()
    templates: tuple[Template, ...] = ()
    parts: tuple[PartUse, ...] = ()
    lost: tuple[Lost, ...] = ()


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Arrivals of one workflow ('' where calls name none): `burstiness` is the coefficient of variation of the gaps
    between arrivals (1: Poisson), `peak` the busiest minute's rate over the mean rate."""

    workflow: str
    calls: int
    hours: float
    input_p50: float | None
    input_p90: float | None
    output_p50: float | None
    output_p90: float | None
    burstiness: Figure
    peak: float | None


# 2. Workflow shape


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One agent in the graph: `path_seconds` is its part of the critical paths, `path_share` of its workflow's."""

    workflow: str
    agent: str
    calls: int
    tasks: int
    spend: Spend
    path_seconds: float
    path_share: float


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """`count` times `target` worked next after `source`, in `transfers` of them because a tool handed over.

    `success` is the share of hand-overs that the receiver neither sent straight back, nor asked again for what the
    sender had asked, nor repeated a tool call of the sender's. None of these three is counted twice.
    """

    workflow: str
    source: str
    target: str
    count: int
    transfers: int
    success: Figure
    returned: int
    asked_again: int
    done_again: int


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What the wall clock of a workflow waits for: seconds of the critical path, per task."""

    agent: str
    stage: Stage
    seconds: float
    share: float
    look_at: tuple[str, ...] = ()


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """One workflow. `chain` is the longest chain of calls that could not overlap; `in_parallel` the share of the time
    with a call in flight that had more than one; `fan_out` the most in flight at once; `tools_an_answer` the tool calls
    of those answers that have any. `density`: hand-overs between agents, a call.
    `redundancy`: tool calls made again with the same arguments, of all. `likeness`: mean Jaccard similarity (word
    triples) of an agent's consecutive texts. `growth`: input tokens that each turn adds."""

    workflow: str
    tasks: int
    calls: Figure
    calls_p50: float | None
    calls_p90: float | None
    chain: Figure
    wall_p50_s: float | None
    wall_p90_s: float | None
    bounds: tuple[Bound, ...]
    in_parallel: Figure
    fan_out: int
    tools_an_answer: Figure
    density: Figure
    redundancy: Figure
    likeness: Figure
    growth: Figure


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Input tokens of the `turn`-th call (from 1) of an agent in a task."""

    workflow: str
    turn: int
    tokens: Figure
    p50: float
    p90: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What success costs in a workflow; means are per task, messages as far as a model saw them. `ratio` is the mean
    cost of an unsolved task over that of a solved one (of tokens where nothing is priced)."""

    workflow: str
    success: Figure
    per_solved: Figure
    solved_cost: Figure
    unsolved_cost: Figure
    ratio: Figure
    solved_calls: Figure
    unsolved_calls: Figure
    solved_messages: Figure
    unsolved_messages: Figure
    tokens_per_solved: Figure


class Mode(msgspec.Struct, frozen=True, kw_only=True):
    """A way to fail, told by rule (`name`: loop, step repetition, premature stop, no end): the share of tasks with it;
    `unsolved` is the share of them that were not solved, where outcomes are known."""

    workflow: str
    name: str
    rule: str
    share: Figure
    spend: Spend
    unsolved: Figure


class RepeatedTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that was called again with the same arguments in one session: `share` of its calls, `most` times at
    once; `spend` is of the calls whose answers asked for nothing else."""

    workflow: str
    tool: str
    calls: int
    share: Figure
    most: int
    spend: Spend


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    flows: tuple[Flow, ...] = ()
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    turns: tuple[Turn, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    modes: tuple[Mode, ...] = ()
    repeated_tools: tuple[RepeatedTool, ...] = ()


# 3. Waste


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of waste of an agent ('' for all): `share` of its calls, or of its tokens where `of` says so; `spend` is
    the cost of the calls concerned, `saving` how much of it would go (None: not known)."""

    workflow: str = ""
    agent: str = ""
    of: str = "calls"
    share: Figure = Figure()
    spend: Spend = Spend()
    saving: int | None = None
    note: str = ""


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """What ends the common prefix of an agent's requests early. `cause` in words, `sample` the text around the first
    difference (masked); `tokens` is how many of the input tokens behind it would have been reusable without it."""

    workflow: str
    agent: str
    cause: str
    sample: str
    share: Figure
    tokens: int


class Prefix(msgspec.Struct, frozen=True, kw_only=True):
    """Prompt prefixes, as shares of input tokens: `possible` with an unlimited cache of the requests before it as they
    were, `had` as the provider counted, `fixable` with what breaks them laid aside."""

    possible: Figure = Figure()
    had: Figure = Figure()
    fixable: Figure = Figure()
    breaks: tuple[Break, ...] = ()


class UnusedTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool in an agent's schema that no answer asked for: [`share`'s interval] is of how often it may still be used;
    `tokens` is what its definition filled, in all calls of the sample."""

    workflow: str
    agent: str
    tool: str
    offered: int
    share: Figure
    tokens: int


class Verbosity(msgspec.Struct, frozen=True, kw_only=True):
    workflow: str
    agent: str
    output: Figure
    output_p90: float | None
    reasoning: Figure
    per_solved: Figure


class Reuse(msgspec.Struct, frozen=True):
    """With room for `blocks` blocks (least recently used goes first), this share of all blocks was there already."""

    blocks: int
    share: float


class Blocks(msgspec.Struct, frozen=True, kw_only=True):
    """Prompts as blocks of `size` tokens, each known by all that precedes it. `reused` is with an unlimited cache;
    `curve` from small to large, from one pass (Mattson's stack distances); `sampled` is the share of block ids that
    were followed (1: all)."""

    requests: int
    blocks: int
    distinct: int
    size: int
    reused: Figure
    curve: tuple[Reuse, ...]
    sampled: float = 1.0


class Waste(msgspec.Struct, frozen=True, kw_only=True):
    repeats: Leak = Leak()
    near: tuple[Leak, ...] = ()
    prefix: Prefix = Prefix()
    history: tuple[Leak, ...] = ()
    unused_tools: tuple[UnusedTool, ...] = ()
    cut: tuple[Leak, ...] = ()
    verbosity: tuple[Verbosity, ...] = ()
    batchable: tuple[Leak, ...] = ()
    oversized: tuple[Leak, ...] = ()
    blocks: Blocks | None = None
