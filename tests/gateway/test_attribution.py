"""Which source names whom, and what the next service is told."""

import json
import string
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.gateway import attribution, vendors, wire
from trimtab.gateway.waiting import Item
from trimtab.trace import Call, EndState, members

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def of(headers=None, *, spans=True, **body):
    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return attribution.of(pairs, wire.head(json.dumps({"model": "m", **body}).encode()), spans=spans)


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
VENDOR = {
    "x-litellm-trace-id": "s3",
    "x-litellm-customer-id": "u3",
    "x-litellm-tags": "beta,slow",
    "x-title": "w3",
    "x-openai-subagent": "a3",
}
BODY = {"metadata": {"workflow": "w4", "agent": "a4", "session_id": "s4", "user_id": "u4"}, "user": "u5"}
SYSTEM = {"messages": [{"role": "system", "content": "You sell cars."}, {"role": "user", "content": "hi"}]}


def fields(who):
    return who.workflow, who.agent, who.session, who.user


def test_own_headers_win():
    who = of({**OWN, **W3C, **VENDOR}, **BODY, **SYSTEM)
    assert fields(who) == ("w1", "a1", "s1", "u1")
    assert (who.parent_id, who.trace_id) == ("p1", TRACE)
    assert who.tags == {"tier": "gold", "beta": "true", "slow": "true"}


def test_then_traceparent_and_baggage():
    who = of({**W3C, **VENDOR}, **BODY, **SYSTEM)
    assert fields(who) == ("w2", "a 2", "s2", "u2")
    assert (who.trace_id, who.parent_id) == (TRACE, PARENT)


def test_then_the_vendors():
    assert fields(of(VENDOR, **BODY, **SYSTEM)) == ("w3", "a3", "s3", "u3")


def test_then_the_body():
    assert fields(of(**BODY, **SYSTEM)) == ("w4", "a4", "s4", "u4")
    assert of(user="u5").user == "u5"
    assert of(safety_identifier="u6", session_id="s6").session == "s6"
    assert of(conversation={"id": "c"}).session == of(conversation="c").session == "c"


def test_each_field_has_its_own_first_source():
    who = of({"x-trimtab-agent": "a1", "baggage": "session.id=s2", "x-litellm-end-user-id": "u3"}, **BODY)
    assert fields(who) == ("w4", "a1", "s2", "u3")


def test_an_empty_source_is_none():
    assert of({"x-trimtab-session": " ", "baggage": "session.id=,user.id=%20"}, **BODY).session == "s4"


def test_conversation_id_wins_over_session_id():
    assert of({"baggage": "session.id=s,gen_ai.conversation.id=c"}).session == "c"


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"x-litellm-session-id": "s", "x-litellm-end-user-id": "u"}, ("", "", "s", "u")),
        ({"helicone-session-id": "s", "helicone-session-name": "w", "helicone-user-id": "u"}, ("w", "", "s", "u")),
        (
            {"langfuse_session_id": "s", "langfuse_trace_name": "w", "langfuse_trace_user_id": "u"},
            ("w", "", "s", "u"),
        ),
        ({"x-openrouter-title": "w", "x-title": "old", "x-session-id": "s"}, ("w", "", "s", "")),
        ({"x-claude-code-session-id": "s", "user-agent": "claude-cli/2.1.86 (external)"}, ("claude-code", "", "s", "")),
        (
            {"session-id": "s", "user-agent": "codex_cli_rs/0.144", "x-openai-subagent": "review"},
            ("codex", "review", "s", ""),
        ),
        ({"session_id": "s", "user-agent": "curl/8"}, ("", "", "", "")),
        ({"x-portkey-trace-id": "s", "x-portkey-metadata": '{"_user": "u", "tier": 1}'}, ("", "", "s", "u")),
        ({"x-bf-session-id": "s"}, ("", "", "s", "")),
        ({"x-anyone-session-id": "s", "x-parent-session-id": "p"}, ("", "", "s", "")),
    ],
)
def test_vendors_names(headers, named):
    assert fields(of(headers)) == named


def test_claude_codes_user_id_is_a_user_and_a_session():
    old = of(metadata={"user_id": "user_ab12_account__session_57a121ec-f78c"})
    new = of(metadata={"user_id": '{"device_id":"d","account_uuid":"","session_id":"54c1eb09"}'})
    assert (old.user, old.session) == ("user_ab12_account_", "57a121ec-f78c")
    assert (new.user, new.session) == ("d", "54c1eb09")
    assert of({"x-claude-code-session-id": "s"}, metadata={"user_id": "user_a_session_b"}).session == "s"


def test_vendors_tags():
    who = of(
        {
            "helicone-property-tier": "gold",
            "helicone-session-path": "/a/b",
            "x-litellm-spend-logs-metadata": '{"ticket": "E-1", "n": 2, "deep": {}}',
            "langfuse_tags": '["one", 2]',
            "x-trimtab-tags": "tier=lead",
        }
    )
    assert who.tags == {"tier": "lead", "session-path": "/a/b", "ticket": "E-1", "n": "2", "one": "true"}


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


def test_a_callers_traceparent_goes_on_as_it_came_where_no_spans_of_ours_are_exported():
    assert of(W3C, spans=False).traceparent == W3C["traceparent"]
    alone = of({"traceparent": "broken"}, spans=False)
    assert alone.traceparent == f"00-{alone.trace_id}-{alone.span_id}-01"


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "x",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
    ],
)
def test_a_broken_traceparent_is_ignored(broken):
    assert of({"traceparent": broken}).trace_id != TRACE


def test_a_later_version_may_say_more():
    who = of({"traceparent": f"cc-{TRACE}-{PARENT}-ff-what-will-be"})
    assert (who.trace_id, who.parent_id, who.flags) == (TRACE, PARENT, "03")


def test_names_are_one_short_line():
    assert of({"x-trimtab-agent": "a\tb" + "x" * 999}).agent == "ab" + "x" * 254


def test_odd_bodies_are_no_trouble():
    of(metadata=[1], user=7, messages="x", tools=[{"function": 3}, 4], conversation=[], session_id={"id": 3})
    of(metadata={"user_id": '{"session_id"', "agent": {}}, user={"id": "x"})


# Parsers of what strangers write.

NAME = st.text(string.ascii_letters + string.digits + ".-_", min_size=1, max_size=20)
HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


@given(st.dictionaries(NAME, st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=8))
def test_baggage_comes_back_as_it_was_written(members):
    header = " , ".join(f"{name} = {quote(held, safe='')};meta=1;flag" for name, held in members.items())
    assert attribution.baggage(header) == members


@given(st.dictionaries(NAME, st.from_regex(r"[^\s,=](?:[^,=]*[^\s,=])?", fullmatch=True), max_size=8))
def test_tags_come_back_as_they_were_written(members):
    assert attribution.tags(",".join(f" {name}={held}" for name, held in members.items())) == members


@given(st.binary(max_size=200))
def test_no_header_is_any_trouble(junk):
    for name in (b"baggage", b"traceparent", b"x-trimtab-tags", b"user-agent", *sorted(vendors.NAMES)):
        who = attribution.of([(name, junk), (b"user-agent", b"codex")], None)
        texts = (*fields(who), who.traceparent, *who.tags, *who.tags.values())
        assert all(text.isprintable() and len(text) <= 256 for text in texts)
        assert attribution.of([(b"traceparent", who.traceparent.encode())], None).trace_id == who.trace_id


@given(st.lists(st.tuples(st.sampled_from(sorted(vendors.NAMES)), HEADER_TEXT), max_size=6), HEADER_TEXT)
def test_what_a_vendor_says_never_wins_over_our_own_headers(pairs, agent):
    headers = [(name, text.encode()) for name, text in pairs] + [(b"user-agent", agent.encode())]
    own = [(name.encode(), held.encode()) for name, held in OWN.items()]
    assert fields(attribution.of([*headers, *own], None)) == ("w1", "a1", "s1", "u1")
    named = vendors.fields(dict(headers))
    assert set(named) <= {"workflow", "agent", "session", "user"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda held: st.lists(held, max_size=3) | st.dictionaries(st.sampled_from(["id", "user_id", "name", "x"]), held),
    max_leaves=6,
)


@given(JSON, JSON, JSON)
def test_no_body_is_any_trouble(metadata, user, tools):
    who = of(metadata=metadata, user=user, session_id=tools, conversation=metadata, safety_identifier=user)
    assert all(text.isprintable() for text in fields(who))
    named = attribution.fingerprint({"system": metadata, "instructions": user, "tools": tools, "messages": [metadata]})
    assert named == "" or named.startswith("fp-")


# The fingerprint, made after the answer.


def recorded(body, **named):
    facts = {"id": "c", "trace_id": TRACE, "span_id": PARENT, "started_ns": 1, "duration_ms": 1.0}
    call = Call(**facts, end=EndState.COMPLETE, **named)
    return Item(size=0, call=call, request=json.dumps(body).encode(), response=b"{}").entry().record.call


SAID = "You sell cars."
TOOLS = [{"type": "function", "function": {"name": "find"}}]
DIALECTS = [
    {"messages": [{"role": "system", "content": SAID}, {"role": "user", "content": "hi"}], "tools": TOOLS},
    {"messages": [{"role": "developer", "content": [{"type": "text", "text": SAID}]}], "tools": TOOLS},
    {"system": SAID, "messages": [{"role": "user", "content": "x"}], "tools": [{"name": "find", "input_schema": {}}]},
    {"system": [{"type": "text", "text": SAID, "cache_control": {}}], "tools": [{"name": "find"}]},
    {"instructions": SAID, "input": "hi", "tools": [{"type": "function", "name": "find"}]},
    {"input": [{"role": "system", "content": [{"type": "input_text", "text": SAID}]}], "functions": [{"name": "find"}]},
]


def test_an_agent_that_nobody_named_is_told_by_its_prompt_in_every_dialect():
    calls = [recorded(body) for body in DIALECTS]
    assert {call.derived for call in calls} == {True}
    assert len({call.agent for call in calls}) == 1 and calls[0].agent.startswith("fp-")


turns = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer", "user", 1]) | JSON, "content": JSON}) | JSON,
    max_size=3,
)


@given(st.fixed_dictionaries({}, optional={"system": JSON, "messages": turns | JSON, "input": turns, "tools": JSON}))
def test_it_is_told_the_same_from_what_is_not_decoded(body):
    for _ in range(2):
        assert attribution.fingerprint_of(members(json.dumps(body).encode())) == attribution.fingerprint(body)


def test_what_is_known_of_fingerprints_is_bounded(monkeypatch):
    monkeypatch.setattr(attribution, "_MOST_FINGERPRINTS", 3)
    monkeypatch.setattr(attribution, "_FINGERPRINTS", {})
    told = [recorded({"system": f"You are {name}."}).agent for name in ("Ada", "Bo", "Cy", "Di", "Ed", "Ada")]
    assert len(attribution._FINGERPRINTS) <= 3 and told[0] == told[-1] and len(set(told)) == 5


def test_a_named_agent_keeps_its_name():
    call = recorded(DIALECTS[0], agent="sales")
    assert (call.agent, call.derived) == ("sales", False)


def test_other_prompts_and_tools_are_other_agents_and_dates_are_not():
    def named(said, tools=()):
        return attribution.fingerprint({"system": said, "tools": [{"name": name} for name in tools]})

    assert len({named("a"), named("b"), named("a", ["t"]), named("a", ["u"]), named("", ["t"])}) == 5
    assert named("Today is 2026-11-23.") == named("Today is 2027-01-02.")


def test_without_prompt_and_tools_there_is_no_agent():
    for body in ({"input": ["a", "b"]}, {"prompt": "a"}, {"messages": [{"role": "user", "content": "x"}]}):
        call = recorded({"model": "m", **body})
        assert (call.agent, call.derived) == ("", False)


def test_without_bodies_the_request_is_read_for_its_fingerprint_alone():
    call = Call(
        id="c", trace_id=TRACE, span_id=PARENT, started_ns=1, duration_ms=1.0, end=EndState.COMPLETE, request_model="m"
    )
    record = Item(size=9, call=call, request=json.dumps(DIALECTS[0]).encode(), bodies=False).entry().record
    assert record.call.derived and record.payload is None


def test_a_long_prompt_takes_linear_time():
    began = time.process_time()
    attribution.fingerprint({"system": "a" * 2_000_000 + " " + "b1" * 500_000})
    assert time.process_time() - began < 3
