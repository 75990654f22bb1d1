"""Ways to fail that a rule can tell from the calls alone, and tools called again with the same arguments."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from trimtab.plan.evidence import Clusters, Evidence, dearest, share_figure, shown, spend_of, tasks
from trimtab.plan.findings import Mode, RepeatedTool
from trimtab.plan.timeline import Exchange
from trimtab.plan.tools import HANDOFF
from trimtab.trace import EndState

LOOP = 3
_SHORT = 20


def _loops(exchanges: list[Exchange]) -> list[Exchange]:
    seen: Counter[tuple[str, str, str]] = Counter()
    found = []
    for one in exchanges:
        for call in one.asked:
            key = (one.call.agent, call.name, call.arguments)
            seen[key] += 1
            if seen[key] >= LOOP:
                found.append(one)
    agents = [one for before, one in zip([None, *exchanges], exchanges, strict=False) if _is_new(before, one)]
    for place in range(4, len(agents)):
        names = [one.call.agent for one in agents[place - 4 : place + 1]]
        if names[0] == names[2] == names[4] and names[1] == names[3]:
            found.append(agents[place])
    return found


def _is_new(before: Exchange | None, one: Exchange) -> bool:
    return before is None or before.call.agent != one.call.agent


def _repetitions(exchanges: list[Exchange]) -> list[Exchange]:
    found = []
    said: set[tuple[str, str]] = set()
    before: set[tuple[str, str]] = set()
    for one in exchanges:
        asked = {(call.name, call.arguments) for call in one.asked}
        text = one.bodies.text.strip() if one.bodies else ""
        if (asked and asked & before) or (len(text) >= _SHORT and (one.call.agent, text) in said):
            found.append(one)
        said.add((one.call.agent, text))
        before = asked
    return found


def _premature(exchanges: list[Exchange]) -> list[Exchange]:
    last = exchanges[-1]
    if last.call.end is not EndState.COMPLETE or any(call.name.startswith(HANDOFF) for call in last.asked):
        return []
    return [last] if last.asked or last.call.finish_reason in ("tool_calls", "tool_use") else []


def _no_end(exchanges: list[Exchange]) -> list[Exchange]:
    return [] if exchanges[-1].call.end is EndState.COMPLETE else [exchanges[-1]]


_MODES: dict[str, tuple[str, Callable[[list[Exchange]], list[Exchange]]]] = {
    "loop": (f"a tool called {LOOP} times with the same arguments, or work sent to and fro twice", _loops),
    "step repetition": ("the same tool call twice running, or the same answer given again", _repetitions),
    "premature stop": ("the task ends with a tool call, no hand-over, that no later request answers", _premature),
    "no end": ("the task's last call did not complete", _no_end),
}


def modes(evidence: Evidence) -> tuple[Mode, ...]:
    rows = []
    for workflow, sessions in evidence.workflows().items():
        its = list(tasks(sessions, evidence.seed))
        for name, (rule, of) in _MODES.items():
            having, unsolved = Clusters(), Clusters()
            hit: list[Exchange] = []
            judged = count = 0
            for task, key, exchanges in its:
                found = of(exchanges)
                having.add(key, float(bool(found)))
                hit += found
                count += bool(found)
                if found and task in evidence.solved:
                    judged += 1
                    unsolved.add(key, float(not evidence.solved[task]))
            if count:
                share = share_figure(having, len(its), "tasks", look=[one.call.id for one in hit])
                of_them = share_figure(unsolved, judged, "tasks")
                cost = spend_of(one.call for one in hit)
                rows.append(Mode(workflow=workflow, name=name, rule=rule, share=share, spend=cost, unsolved=of_them))
    return tuple(sorted(rows, key=lambda row: -(row.share.value or 0)))


def repeated_tools(evidence: Evidence) -> tuple[RepeatedTool, ...]:
    rows: list[RepeatedTool] = []
    for workflow, sessions in evidence.workflows().items():
        shares: dict[str, Clusters] = defaultdict(Clusters)
        calls: Counter[str] = Counter()
        most: Counter[str] = Counter()
        again: dict[str, list[Exchange]] = defaultdict(list)
        for key, exchanges in sessions:
            seen: Counter[tuple[str, str]] = Counter()
            for one in exchanges:
                for call in one.asked:
                    seen[call.name, call.arguments] += 1
                    times = seen[call.name, call.arguments]
                    shares[call.name].add(key, float(times > 1))
                    calls[call.name] += 1
                    most[call.name] = max(most[call.name], times)
                    if times > 1:
                        again[call.name].append(one)
        rows += [_row(workflow, (name, calls[name], most[name]), shares[name], its) for name, its in again.items()]
    return tuple(sorted(rows, key=lambda row: -(row.share.value or 0) * row.calls))


def _row(workflow: str, counted: tuple[str, int, int], shares: Clusters, again: Iterable[Exchange]) -> RepeatedTool:
    name, calls, most = counted
    its = {one.call.id: one.call for one in again}
    alone = [one.call for one in again if len(one.asked) == 1]
    share = share_figure(shares, calls, "tool calls", look=dearest(its.values()))
    return RepeatedTool(workflow=workflow, tool=shown(name), calls=calls, share=share, most=most, spend=spend_of(alone))
