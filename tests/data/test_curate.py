import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.levers.small_model import shop
from trimtab.data import curate
from trimtab.data.conversation import Conversation, Funnel
from trimtab.trace import Call, EndState, Payload, Trace

OWN = curate.Rules(licences={"old": "own"})


def curated(traces, rules=OWN):
    funnel = Funnel()
    return curate.curated(traces, rules, funnel), funnel


def test_a_conversation_that_branches_stays_two():
    one, other = shop.traces(1), shop.traces(1, seed=4)
    found, _ = curated([*one, *other])
    assert [each.taught for each in found] == [(2, 4, 6, 8), (2, 4, 6, 8)]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (shop.call("fly", thing="a"), "calls a tool that was not offered"),
        (shop.call("book", thing=None), "a null argument"),
        (shop.call("book", wings=2), "an argument that the tool does not have"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "book", "arguments": "{"}}]},
         "arguments that are no JSON object"),
        (shop.call("book", thing="tyres"), None),
        (shop.said("hello"), None),
    ],
)  # fmt: skip
def test_a_malformed_call_is_nothing_to_learn_from(answer, why):
    assert curate.malformed(answer, shop.TOOLS) == why


def test_a_cut_answer_is_left_out():
    trace = shop.traces(1)[0]
    name = trace.calls[0].id
    response = trace.payloads[name].response
    response["choices"][0]["finish_reason"] = "length"
    _, funnel = curated([trace])
    assert funnel.counts[0].why == {"answer cut or empty": 1}


def test_secrets_go_and_personal_data_where_it_is_asked_for():
    trace = shop.traces(1)[0]
    for payload in trace.payloads.values():
        payload.request["messages"][1]["content"] = "my key is sk-abcdefghij0123456789, mail me at ann@example.com"
    found, funnel = curated([trace])
    assert "sk-abc" not in found[0].text
    assert "ann@example.com" in found[0].text
    assert funnel.counts[-1].why == {"struck out in": 1}
    found, _ = curated([trace], curate.Rules(licences={"old": "own"}, personal_data=True))
    assert "ann@example.com" not in found[0].text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["messages", "role", "content", "tool_calls", "function", "arguments", "choices", "message",
                         "finish_reason", "tools", "name", "parameters", "properties", "stop", "x"]), inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(JSON, JSON)
def test_bodies_of_any_shape_never_break_it(request, response):
    call = Call(id="a", trace_id="t", span_id="s", started_ns=0, duration_ms=1, end=EndState.COMPLETE, endpoint="old")
    bodies = [{"messages": [{"role": "user", "content": "x"}], "tools": request},
              {"choices": [{"message": response, "finish_reason": "stop"}]}]  # fmt: skip
    for asked, told in ((request, response), (bodies[0], bodies[1]), (bodies[0], response), (request, bodies[1])):
        if isinstance(asked, dict) and isinstance(told, dict | None):
            found, funnel = curated([Trace("t", (call,), {"a": Payload("a", asked, told)})])
            assert funnel.counts[0].came == 1
            assert all(isinstance(each, Conversation) and each.digest for each in found)
