import json

import pytest

from tests.arena.dealership.actors import Scripted, find, judged, say, use, uses
from trimtab.arena.dealership.session import MAX_CALLS, _holds, _plain


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


def test_a_mute_actor_ends_the_session_and_solves_no_question():
    played, wrong = judged(find("info"), Scripted(say("  ")))
    assert (played.why, played.calls) == ("silent", 1)
    assert wrong


@pytest.mark.parametrize("move", [say("What is your phone number?"), use("find_customer", phone="1")])
def test_an_actor_that_loops_is_stopped(move):
    played, wrong = judged(find("service_book", lambda goal: goal.mind == "yes"), Scripted(move))
    assert (played.why, played.calls) == ("too long", MAX_CALLS)
    assert wrong


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("store_info", '{"topic": '), ("store_info", "[1]"), ("store_info", ""), ("fly", "{}"), ("book_service", "{}")],
)
def test_malformed_arguments_and_unknown_tools_are_told_to_the_actor(name, arguments):
    played, _ = judged(find("info"), Scripted(uses((name, arguments)), say("Sorry.")))
    result = played.segments[0].messages[-2]
    assert result["role"] == "tool"
    assert "error" in json.loads(result["content"])
    assert (played.path, played.breaches) == (["triage"], [])


def test_parallel_tool_calls_are_all_run_in_order():
    both = uses(("store_info", '{"topic": "hours"}'), ("store_info", '{"topic": "address"}'))
    played, _ = judged(find("info"), Scripted(both, say("So it is.")))
    results = [m for m in played.segments[0].messages if m["role"] == "tool"]
    assert [m["tool_call_id"] for m in results] == ["c0", "c1"]
    assert played.tool_calls == 2
    assert "Harbor Road" in results[1]["content"]


@pytest.mark.parametrize(
    ("text", "fact", "told"),
    [
        ("It costs $1,299 in all.", "1299", True),
        ("It costs $12,990.", "1299", False),
        ("at 11:00", "11:00", True),
        ("at 111:00", "11:00", False),
        ("It is Delayed.", "delayed", True),
        ("1.299", "299", False),
    ],
)
def test_a_fact_is_told_whole_or_not_at_all(text, fact, told):
    assert _holds(_plain(text), _plain(fact)) is told
