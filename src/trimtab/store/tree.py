"""A trace as a tree: agents, nested by hand-off, their calls, and the tools these asked for. Pure; draws nothing."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.store.traces import TraceSummary, summarize
from trimtab.trace import Call, Payload, Trace

# How many calls later a tool's result is looked for: other agents may be at work at the same time, not this many.
_SOUGHT = 100
_HANDOFFS = ("transfer_to_", "handoff_to_", "handoff_", "handoff")


class ToolNode(msgspec.Struct, frozen=True, kw_only=True):
    """One tool call in an answer. `result` is what a later request says came back, None where none does. `target` is
    the agent it hands over to, None for a plain tool."""

    id: str
    name: str
    arguments: str
    result: str | None = None
    target: str | None = None


class CallNode(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `tool_ms` is the time from its end to the next request, where it asked for tools; `agents` are those
    that took over after it."""

    call: Call
    text: str = ""
    tools: tuple[ToolNode, ...] = ()
    tool_ms: float | None = None
    agents: tuple[AgentNode, ...] = ()


class AgentNode(msgspec.Struct, frozen=True):
    """One agent's turn at the work: its calls in the order they started."""

    name: str
    calls: tuple[CallNode, ...]


class TraceTree(msgspec.Struct, frozen=True, kw_only=True):
    """The whole. `model_ms` sums the calls' durations, `tool_ms` the times between them that tools took."""

    summary: TraceSummary
    agents: tuple[AgentNode, ...]
    model_ms: float
    tool_ms: float


def tree_of(trace: Trace) -> TraceTree:
    """The tree of a trace with at least one call.

    A call belongs to the open turn of its agent. A turn begins with the agent's first call, and anew when a hand-off
    named the agent; it hangs under the call that handed over, else under the call that its parent span names, else it
    is a root.
    """
    nodes = [_Node(call, trace.payloads.get(call.id)) for call in trace.calls]
    roots: list[_Turn] = []
    open_turns: dict[str, _Turn] = {}
    awaited: dict[str, _Node] = {}
    spans = {node.call.span_id: node for node in nodes}
    for position, node in enumerate(nodes):
        _settle_tools(node, nodes[position + 1 : position + 1 + _SOUGHT])
        agent = node.call.agent
        giver = awaited.pop(_folded(agent), None)
        turn = None if giver else open_turns.get(agent)
        if turn is None:
            turn = open_turns[agent] = _Turn(agent)
            parent = giver or _parent(node, spans)
            (parent.turns if parent else roots).append(turn)
        turn.nodes.append(node)
        awaited.update({_folded(tool.target): node for tool in node.tools if tool.target})
    return TraceTree(
        summary=summarize(trace),
        agents=tuple(turn.frozen() for turn in roots),
        model_ms=sum(node.call.duration_ms for node in nodes),
        tool_ms=sum(node.tool_ms or 0.0 for node in nodes),
    )


class _Node:
    """A call while the tree grows."""

    def __init__(self, call: Call, payload: Payload | None) -> None:
        self.call = call
        self.request = payload.request if payload else {}
        self.message = _answer(payload.response if payload else None)
        self.tools = _tools(self.message)
        self.tool_ms: float | None = None
        self.turns: list[_Turn] = []

    def frozen(self) -> CallNode:
        return CallNode(
            call=self.call,
            text=text_of(self.message.get("content")),
            tools=tuple(self.tools),
            tool_ms=self.tool_ms,
            agents=tuple(turn.frozen() for turn in self.turns),
        )


class _Turn:
    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[_Node] = []

    def frozen(self) -> AgentNode:
        return AgentNode(self.name, tuple(node.frozen() for node in self.nodes))


def _parent(node: _Node, spans: dict[str, _Node]) -> _Node | None:
    """The earlier call whose span is `node`'s parent."""
    parent = spans.get(node.call.parent_id or "")
    return parent if parent and parent.call.started_ns < node.call.started_ns else None


def _settle_tools(node: _Node, later: list[_Node]) -> None:
    """Fill in what the tools gave back, and how long the next request that waited for it was in coming."""
    if not node.tools:
        return
    takers = {_folded(tool.target) for tool in node.tools if tool.target} or {_folded(node.call.agent)}
    following = next((other for other in later if _folded(other.call.agent) in takers), None)
    if following is not None:
        gap = (following.call.started_ns - node.call.started_ns) / 1e6 - node.call.duration_ms
        node.tool_ms = max(0.0, gap)
    node.tools = [msgspec.structs.replace(tool, result=_result(tool.id, later)) for tool in node.tools]


def _result(tool_id: str, later: list[_Node]) -> str | None:
    """From the first later request that has it; its last one, as some servers count ids anew in every answer."""
    for node in later:
        messages = node.request.get("messages")
        for message in reversed(messages if isinstance(messages, list) else []):
            if isinstance(message, dict) and message.get("role") == "tool" and message.get("tool_call_id") == tool_id:
                return text_of(message.get("content"))
    return None


def _answer(response: dict[str, Any] | None) -> dict[str, Any]:
    choices = (response or {}).get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    return message if isinstance(message, dict) else {}


def _tools(message: dict[str, Any]) -> list[ToolNode]:
    calls = message.get("tool_calls")
    tools = []
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            continue
        name = str(function.get("name") or "")
        arguments = str(function.get("arguments") or "")
        tools.append(
            ToolNode(id=str(call.get("id") or ""), name=name, arguments=arguments, target=handoff(name, arguments))
        )
    return tools


def handoff(name: str, arguments: str = "") -> str | None:
    """The agent that a tool of this name hands over to, None where it is a plain tool. A bare `handoff` names the
    agent in its arguments."""
    prefix = next((prefix for prefix in _HANDOFFS if name.startswith(prefix)), None)
    if prefix is None:
        return None
    if target := name[len(prefix) :]:
        return target
    try:
        named = msgspec.json.decode(arguments, type=dict[str, Any])
    except msgspec.MsgspecError:
        return "?"
    return str(named.get("agent") or named.get("to") or named.get("target") or "?")


def text_of(content: object) -> str:
    """A message's content as text: itself, or its text parts joined."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _folded(agent: str) -> str:
    """`Sales-Agent` and `sales` are the same agent in the name of a hand-off."""
    plain = agent.lower().replace("-", "_").replace(" ", "_")
    return plain.removesuffix("_agent") or plain
