"""The shape of workflows: graph of agents, critical path, chains and fan-out, growth of the context with each turn."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

from trimtab.plan import loops, outcomes, timeline, transfers
from trimtab.plan.evidence import Clusters, Evidence, dearest, mean_figure, share_figure, shown, spend_of, tasks
from trimtab.plan.findings import Bound, Flow, Node, Shape, Turn
from trimtab.plan.sample import Session
from trimtab.plan.timeline import Exchange, Segment
from trimtab.stats.quantiles import quantile

TURNS = 40
_WORDS = 400


def found(evidence: Evidence) -> Shape:
    workflows = evidence.workflows()
    flows, nodes, turns = [], [], []
    for name, sessions in workflows.items():
        paths = [list(timeline.segments(session.exchanges)) for session in sessions]
        flows.append(_flow(name, sessions, paths, evidence.seed))
        nodes += _nodes(name, sessions, paths)
        turns += _turns(name, sessions, evidence.seed)
    return Shape(
        flows=tuple(sorted(flows, key=lambda flow: -flow.tasks)),
        nodes=tuple(sorted(nodes, key=lambda node: (-node.spend.nanodollars, -node.calls))),
        edges=transfers.edges(workflows),
        turns=tuple(turns),
        outcomes=outcomes.found(evidence),
        modes=loops.modes(evidence),
        repeated_tools=loops.repeated_tools(evidence),
    )


def _flow(workflow: str, sessions: list[Session], paths: list[list[Segment]], seed: int) -> Flow:
    its = list(tasks(sessions, seed))
    calls, chain, tools, growth = Clusters(), Clusters(), Clusters(), Clusters()
    density, redundancy, likeness, parallel = Clusters(), Clusters(), Clusters(), Clusters()
    fan_out, grown = 0, 0
    for _, key, exchanges in its:
        calls.add(key, len(exchanges))
        chain.add(key, _chain(exchanges))
        for before, after in _turns_of(exchanges):
            growth.add(key, after.call.usage.input_tokens - before.call.usage.input_tokens)
            grown += 1
    for key, exchanges in sessions:
        most, several, some = _in_flight(exchanges)
        fan_out = max(fan_out, most)
        parallel.add(key, several, some)
        asked = [(call.name, call.arguments) for one in exchanges for call in one.asked]
        redundancy.add(key, len(asked) - len(set(asked)), len(asked))
        tools.add(key, len(asked), sum(bool(one.asked) for one in exchanges))
        density.add(key, sum(a.call.agent != b.call.agent for a, b in pairwise(exchanges)), len(exchanges))
        alike = _likeness(exchanges)
        likeness.add(key, sum(alike), len(alike))
    sizes = [len(exchanges) for _, _, exchanges in its]
    lengths = [sum(segment.seconds for segment in path) for path in paths]
    return Flow(
        workflow=workflow,
        tasks=len(its),
        calls=mean_figure(calls, len(its), "tasks", look=_longest(its)),
        calls_p50=quantile(sizes, 0.5),
        calls_p90=quantile(sizes, 0.9),
        chain=mean_figure(chain, len(its), "tasks"),
        wall_p50_s=quantile(lengths, 0.5),
        wall_p90_s=quantile(lengths, 0.9),
        bounds=_bounds(paths, len(its)),
        in_parallel=share_figure(parallel, len(sessions), "sessions"),
        fan_out=fan_out,
        tools_an_answer=mean_figure(tools, sum(sizes), "calls"),
        density=share_figure(density, sum(sizes), "calls"),
        redundancy=share_figure(redundancy, sum(len(one.asked) for s in sessions for one in s.exchanges), "tool calls"),
        likeness=mean_figure(likeness, sum(sizes), "calls"),
        growth=mean_figure(growth, grown, "turns"),
    )


def _longest(its: list[tuple[int, int, list[Exchange]]]) -> list[str]:
    """The last calls of the tasks with most calls."""
    return [task[2][-1].call.id for task in sorted(its, key=lambda task: -len(task[2]))[:5]]


def _span(one: Exchange) -> tuple[int, int]:
    start = one.call.started_ns
    return start, start + max(0, round(one.call.duration_ms * 1e6))


def _chain(exchanges: list[Exchange]) -> int:
    """The most calls of which no two overlap: take what ends first, again and again."""
    count, free = 0, None
    for end, start in sorted((end, start) for start, end in map(_span, exchanges)):
        if free is None or start >= free:
            count, free = count + 1, end
    return count


def _in_flight(exchanges: list[Exchange]) -> tuple[int, float, float]:
    """The most calls at once; seconds with more than one; seconds with any."""
    moments = sorted(moment for start, end in map(_span, exchanges) for moment in ((start, 1), (end, -1)))
    most = now = 0
    several = some = 0.0
    last = moments[0][0]
    for at, change in moments:
        some += (at - last) / 1e9 if now else 0.0
        several += (at - last) / 1e9 if now > 1 else 0.0
        now, last = now + change, at
        most = max(most, now)
    return max(1, most), several, some


def _likeness(exchanges: list[Exchange]) -> list[float]:
    """Jaccard similarity of each answer's word triples with those of the same agent's answer before."""
    last: dict[str, set[tuple[str, str, str]]] = {}
    alike = []
    for one in exchanges:
        words = (one.bodies.text if one.bodies else "").lower().split()[:_WORDS]
        triples = set(zip(words, words[1:], words[2:], strict=False))
        before = last.get(one.call.agent)
        if triples and before:
            alike.append(len(triples & before) / len(triples | before))
        if triples:
            last[one.call.agent] = triples
    return alike


def _bounds(paths: list[list[Segment]], n: int) -> tuple[Bound, ...]:
    spent: Counter[tuple[str, timeline.Stage]] = Counter()
    longest: dict[tuple[str, timeline.Stage], list[Segment]] = defaultdict(list)
    for path in paths:
        for segment in path:
            key = (shown(segment.exchange.call.agent), segment.stage)
            spent[key] += segment.seconds  # type: ignore[assignment]
            longest[key].append(segment)
    total = sum(spent.values())
    rows = []
    for (agent, stage), seconds in spent.most_common():
        if seconds > 0:
            top = sorted(longest[agent, stage], key=lambda segment: -segment.seconds)[:5]
            look = tuple(dict.fromkeys(segment.exchange.call.id for segment in top))
            rows.append(Bound(agent=agent, stage=stage, seconds=seconds / n, share=seconds / total, look_at=look))
    return tuple(rows)


def _nodes(workflow: str, sessions: list[Session], paths: list[list[Segment]]) -> list[Node]:
    by_agent: dict[str, list[Exchange]] = defaultdict(list)
    for session in sessions:
        for one in session.exchanges:
            by_agent[shown(one.call.agent)].append(one)
    seconds: Counter[str] = Counter()
    for path in paths:
        for segment in path:
            # A gap while a customer types is no agent's.
            if segment.stage is not timeline.Stage.CUSTOMER:
                seconds[shown(segment.exchange.call.agent)] += segment.seconds  # type: ignore[assignment]
    total = sum(seconds.values())
    return [
        Node(
            workflow=workflow,
            agent=agent,
            calls=len(exchanges),
            tasks=len({one.call.trace_id for one in exchanges}),
            spend=spend_of(one.call for one in exchanges),
            path_seconds=seconds[agent],
            path_share=seconds[agent] / total if total else 0.0,
        )
        for agent, exchanges in by_agent.items()
    ]


def _turns_of(exchanges: list[Exchange]) -> list[tuple[Exchange, Exchange]]:
    """Each call with the same agent's next in the task."""
    last: dict[str, Exchange] = {}
    pairs = []
    for one in exchanges:
        if one.call.usage.input_tokens:
            if before := last.get(one.call.agent):
                pairs.append((before, one))
            last[one.call.agent] = one
    return pairs


def _turns(workflow: str, sessions: list[Session], seed: int) -> list[Turn]:
    tokens: dict[int, Clusters] = defaultdict(Clusters)
    values: dict[int, list[int]] = defaultdict(list)
    largest: dict[int, list[Exchange]] = defaultdict(list)
    for _, key, exchanges in tasks(sessions, seed):
        turns: Counter[str] = Counter()
        for one in exchanges:
            turns[one.call.agent] += 1
            turn = turns[one.call.agent]
            if turn <= TURNS:
                tokens[turn].add(key, one.call.usage.input_tokens)
                values[turn].append(one.call.usage.input_tokens)
                largest[turn].append(one)
    return [
        Turn(
            workflow=workflow,
            turn=turn,
            tokens=mean_figure(tokens[turn], len(values[turn]), "calls", look=dearest(o.call for o in largest[turn])),
            p50=quantile(values[turn], 0.5) or 0.0,
            p90=quantile(values[turn], 0.9) or 0.0,
        )
        for turn in sorted(tokens)
    ]
