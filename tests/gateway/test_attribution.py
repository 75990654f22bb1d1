"""Which source names whom, and what the next service is told."""

import json

from trimtab.gateway import attribution, wire

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def of(headers=None, **body):
    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return attribution.of(pairs, wire.head(json.dumps({"model": "m", **body}).encode()))


OWN = {
    "x-trimtab-workflow": "w1",
    "x-trimtab-agent": "a1",
    "x-trimtab-session": "s1",
    "x-trimtab-user": "u1",
    "x-trimtab-parent": "p1",
    "x-trimtab-tags": "tier=gold, beta",
}
W3C = {
    "traceparent": f"00-{TRACE}-{PARENT}-00",
    "baggage": "session.id=s2,gen_ai.agent.name=a%202;p=1, user.id=u2,gen_ai.workflow.name=w2",
}
BODY = {"metadata": {"workflow": "w3", "agent": "a3", "session_id": "s3", "user_id": "u3"}, "user": "u4"}
SYSTEM = {"messages": [{"role": "system", "content": "You sell cars."}, {"role": "user", "content": "hi"}]}


def fields(who):
    return who.workflow, who.agent, who.session, who.user, who.derived


def test_own_headers_win():
    who = of({**OWN, **W3C}, **BODY, **SYSTEM)
    assert fields(who) == ("w1", "a1", "s1", "u1", False)
    assert (who.parent_id, who.tags) == ("p1", {"tier": "gold", "beta": "true"})
    assert who.trace_id == TRACE


def test_then_traceparent_and_baggage():
    who = of(W3C, **BODY, **SYSTEM)
    assert fields(who) == ("w2", "a 2", "s2", "u2", False)
    assert (who.trace_id, who.parent_id) == (TRACE, PARENT)


def test_conversation_id_wins_over_session_id():
    assert of({"baggage": "session.id=s,gen_ai.conversation.id=c"}).session == "c"


def test_then_the_body():
    assert fields(of(**BODY, **SYSTEM)) == ("w3", "a3", "s3", "u3", False)
    assert of(user="u4").user == "u4"


def test_then_a_fingerprint_marked_derived():
    tools = [{"type": "function", "function": {"name": "find"}}]
    plain, again, other = of(**SYSTEM), of(**SYSTEM, temperature=1), of(**SYSTEM, tools=tools)
    assert plain.derived and plain.agent.startswith("fp-")
    assert plain.agent == again.agent != other.agent
    assert fields(of()) == ("", "", "", "", False)


def test_the_calls_of_a_session_are_one_trace():
    first, second, other = (of({"x-trimtab-session": name}) for name in ("s", "s", "t"))
    assert first.trace_id == second.trace_id != other.trace_id
    assert first.span_id != second.span_id
    assert len(first.trace_id) == 32 and int(first.trace_id, 16)


def test_without_a_session_each_call_is_a_trace():
    assert of().trace_id != of().trace_id


def test_our_span_is_the_parent_of_what_follows():
    who = of(W3C)
    assert who.traceparent == f"00-{TRACE}-{who.span_id}-00"


def test_a_broken_traceparent_is_ignored():
    for broken in ("", "x", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01", f"00-{TRACE.upper()}-{PARENT}-01"):
        assert of({"traceparent": broken}).trace_id != TRACE


def test_names_are_one_short_line():
    assert of({"x-trimtab-agent": "a\tb" + "x" * 999}).agent == "ab" + "x" * 254


def test_odd_bodies_are_no_trouble():
    of(metadata=[1], user=7, messages="x", tools=[{"function": 3}, 4])
    of(messages=[{"role": "system", "content": [{"type": "text", "text": "x"}]}, 5])
