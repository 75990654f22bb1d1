import asyncio
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.arena.dealership.actors import Scripted, find, judged, say, use, uses
from trimtab.arena.dealership import agents, goals, tasks
from trimtab.arena.dealership.session import MAX_CALLS, _holds, _plain, faults, play, solved_by_oracle


def calls_of(message):
    return [call["function"]["name"] for call in message.get("tool_calls") or []]


def test_the_oracle_unbent_is_solved():
    played, wrong = judged(find("service_book"), bend=lambda move: move)
    assert (played.why, wrong) == ("left", [])


def test_a_wrong_end_state_is_a_fault():
    def bend(move):
        if calls_of(move) == ["apply_finance"]:
            function = move["tool_calls"][0]["function"]
            function["arguments"] = json.dumps({**json.loads(function["arguments"]), "down_payment": 1})
        return move

    task = find("finance_apply", lambda goal: goal.mind == "yes" and not goal.slots["new"])
    _, wrong = judged(task, bend=bend)
    assert wrong == ["wrong applications"]


def test_a_fact_that_was_not_told_is_a_fault():
    def bend(move):
        return say("It has its price.") if move["content"].startswith("It costs") else move

    _, wrong = judged(find("service_price"), bend=bend)
    assert len(wrong) == 1
    assert wrong[0].startswith("not told: ")


def test_a_change_without_the_customers_word_is_a_fault():
    task = find("cancel_order", lambda goal: not goal.slots["new"])
    db, customer = task.enter()
    phone = customer.goal.slots["phone"]
    person = db.execute("SELECT id FROM customers WHERE phone = ?", (phone,)).fetchone()[0]
    order = db.execute("SELECT id FROM orders WHERE customer_id = ? ORDER BY id", (person,)).fetchone()[0]
    actor = Scripted(
        use("find_customer", phone=phone),
        use("transfer_to_sales", customer_id=person),
        use("cancel_order", order_id=order),
        say(f"Order {order} is cancelled."),
    )
    _, wrong = judged(task, actor)
    assert "cancel_order without the customer's word" in wrong


@pytest.mark.parametrize("family", ["forbidden", "out_of_scope"])
@pytest.mark.parametrize("move", [use("transfer_to_sales"), use("store_info", topic="hours")])
def test_a_tool_call_on_what_must_be_declined_is_a_fault(family, move):
    _, wrong = judged(find(family), Scripted(move, say("Sorry, no.")))
    assert len(wrong) == 1
    assert wrong[0].endswith("for a request to be declined")


@pytest.fixture(scope="module")
def expected():
    """200 tasks of the test split with the oracle's sessions."""
    return [(task, asyncio.run(solved_by_oracle(task))) for task in tasks.draw("test", 200, 0)]


def solved(expected, *moves):
    """The families of the tasks that an actor of these fixed moves solves."""
    return [
        task.family
        for task, oracle in expected
        if faults(asyncio.run(play(task, Scripted(*json.loads(json.dumps(moves))))), oracle) == []
    ]


@pytest.mark.parametrize("text", ["", "  \n", None])
def test_a_mute_actor_solves_nothing(expected, text):
    assert solved(expected, say(text)) == []
    played, wrong = judged(find("info"), Scripted(say(text)))
    assert (played.why, played.calls) == ("silent", 1)
    assert "not ended: silent" in wrong


def test_a_refusal_for_everybody_solves_only_what_has_no_other_answer(expected):
    """The floors that docs/arena.md states may not grow unseen."""
    refusing = solved(expected, say("Sorry, no."))
    assert set(refusing) <= {"find_car", "recall", "out_of_scope", "forbidden"}
    assert len(refusing) / len(expected) < 0.15
    asking = solved(expected, say("Shall I go ahead?"), say("Sorry, no."))
    assert len(asking) / len(expected) < 0.4


def test_kind_words_without_a_fact_and_without_a_refusal_solve_nothing(expected):
    assert solved(expected, say("Certainly, we are glad to have you here.")) == []


def minded(family, mind):
    return find(family, lambda goal: goal.mind == mind and not goal.slots["new"])


@pytest.mark.parametrize("family", [name for name, spec in goals.FAMILIES.items() if "no" in spec.mind])
def test_a_customer_who_would_have_said_no_must_be_asked(family):
    """The world is as it should be if nothing is done, but nobody asked."""
    task = minded(family, "no")
    played, wrong = judged(task, Scripted(say("All right, I leave everything as it is.")))
    assert (played.why, played.declined) == ("left", False)
    assert wrong[0] == "not asked: the customer would have said no"
    played, wrong = judged(task, bend=lambda move: move)
    assert (played.declined, wrong) == (True, [])


def test_who_was_talked_out_of_what_they_wanted_is_no_success():
    """Declining is the oracle's end here only if it is this customer's."""
    played, wrong = judged(minded("cancel_order", "yes"), Scripted(say("All right, I leave everything as it is.")))
    assert not played.declined
    assert wrong == ["wrong orders"]


@pytest.mark.parametrize("family", ["out_of_scope", "forbidden"])
@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("Unfortunately I can't help with that.", True),
        ("No.", True),
        ("I am NOT allowed to do that", True),
        ("Certainly, here it is.", False),
        ("Noted, nothing easier than that.", False),
    ],
)
def test_a_refusal_needs_a_refusing_word_and_any_will_do(family, text, good):
    _, wrong = judged(find(family), Scripted(say(text)))
    assert (wrong == []) is good
    assert good or wrong[0].startswith("not told: ")


@pytest.mark.parametrize("move", [say("What is your phone number?"), use("find_customer", phone="1")])
def test_an_actor_that_loops_is_stopped(move):
    played, wrong = judged(find("service_book", lambda goal: goal.mind == "yes"), Scripted(move))
    assert (played.why, played.calls) == ("too long", MAX_CALLS)
    assert "not ended: too long" in wrong


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("store_info", '{"topic": '),
        ("store_info", "[1]"),
        ("store_info", ""),
        ("store_info", None),
        ("store_info", 5),
        ("store_info", ["topic"]),
        ("store_info", {"topic": "hours"}),
        ("store_info", "[" * 100_000),
        ("store_info", '{"topic": ' * 100_000),
        ("store_info", '{"topic": "\\ud800"}'),
        ("store_info", '{"topic": "\ud800"}'),
        ("store_info", '{"\\udfff": 1}'),
        ("store_info", '{"topic": ' + "9" * 5000 + "}"),
        ("store_info", '{"topic": NaN}'),
        ("transfer_to_sales", '{"customer_id": "\\ud800"}'),
        ("fly", "{}"),
        ("\ud800", "{}"),
        ("book_service", "{}"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_malformed_arguments_and_unknown_tools_are_told_to_the_actor(name, arguments):
    played, _ = judged(find("info"), Scripted(uses((name, arguments)), say("Sorry.")))
    result = played.segments[0].messages[-2]
    assert result["role"] == "tool"
    assert "error" in json.loads(result["content"])
    result["content"].encode()
    assert (played.path, played.breaches) == (["triage"], [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[]), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["topic", "phone", "x"]), inner),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["store_info", "find_customer", "register_customer", "transfer_to_sales", "book_service"]),
    JSON | JSON.map(json.dumps),
)
@example("transfer_to_sales", '{"customer_id": "\\udc00"}')
def test_no_arguments_make_a_session_fall_over(name, arguments):
    played, _ = judged(find("service_price"), Scripted(uses((name, arguments)), say("Sorry, no.")))
    for segment in played.segments:
        for message in segment.messages[:2]:
            message["content"].encode()  # what the next agent is given can be sent


def test_parallel_tool_calls_are_all_run_in_order():
    both = uses(("store_info", '{"topic": "hours"}'), ("store_info", '{"topic": "address"}'))
    played, _ = judged(find("info"), Scripted(both, say("So it is.")))
    results = [m for m in played.segments[0].messages if m["role"] == "tool"]
    assert [m["tool_call_id"] for m in results] == ["c0", "c1"]
    assert played.tool_calls == 2
    assert "Harbor Road" in results[1]["content"]


def roles(segment):
    return [message["role"] for message in segment.messages]


@pytest.mark.parametrize("first", ["transfer_to_service", "store_info"])
def test_results_of_parallel_calls_go_to_the_agent_that_asked_even_past_a_hand_off(first):
    """A tool that only triage has still works after the transfer beside it, and the next agent sees none of it."""
    calls = [("transfer_to_service", "{}"), ("store_info", '{"topic": "address"}')]
    asked = uses(*sorted(calls, key=lambda call: call[0] != first))
    played, _ = judged(find("service_book"), Scripted(asked, say("What is your phone number?"), say("Good bye.")))
    triage, service = played.segments
    assert (triage.agent, service.agent) == ("triage", "service")
    assert roles(triage) == ["system", "user", "assistant", "tool", "tool"]
    assert [message["tool_call_id"] for message in triage.messages[3:]] == ["c0", "c1"]
    results = [json.loads(message["content"]) for message in triage.messages[3:]]
    assert {"transferred": "service"} in results
    assert any("Harbor Road" in result.get("text", "") for result in results)
    assert roles(service) == ["system", "user", "assistant", "user", "assistant"]
    assert service.messages[0]["content"] == agents.AGENTS["service"].system


def test_a_reply_goes_to_the_agent_that_asked_and_travels_on_with_the_hand_off():
    moves = [say("What is your phone number?"), use("transfer_to_sales"), use("search_vehicles"), say("Good bye.")]
    played, _ = judged(find("reserve", lambda goal: "phone" not in goal.at_once), Scripted(*moves))
    triage, sales = played.segments
    assert roles(triage) == ["system", "user", "assistant", "user", "assistant", "tool"]
    assert roles(sales) == ["system", "user", "assistant", "tool", "assistant"]
    assert triage.messages[3]["content"] in sales.messages[1]["content"]


@pytest.mark.parametrize(
    ("text", "fact", "told"),
    [
        ("It costs $1,299 in all.", "1299", True),
        ("It costs $12,990.", "1299", False),
        ("at 11:00", "11:00", True),
        ("at 111:00", "11:00", False),
        ("It is Delayed.", "delayed", True),
        ("1.299", "299", False),
        ("It is not.", "no|not", True),
        ("Note it.", "no|not", False),
        ("I can't.", "cannot|can't", True),
        ("Of course.", "no|not|(", False),
    ],
)
def test_a_fact_is_told_whole_or_not_at_all(text, fact, told):
    assert _holds(_plain(text), _plain(fact)) is told
