"""What may be kept for whom, from what a request says of itself."""

import pytest

from tests.levers.cache.requests import chat, request
from trimtab.errors import ConfigError
from trimtab.levers.cache import asking, eligibility, options
from trimtab.levers.cache.asking import Asked
from trimtab.levers.cache.eligibility import Eligibility

TOOL = {"type": "function", "function": {"name": "find_car", "parameters": {}}}


def of(body, given=None, dialect="chat", headers=(), **who):
    return asking.of(request(body, dialect, headers, **who), options.read(given or {}))


def level(body, given=None, **more):
    found = of(body, given, **more)
    return found.judged.level if isinstance(found, Asked) else found


@pytest.mark.parametrize(
    "text",
    [
        "How do I activate my card?",
        "When does the shop open on Sundays?",
        "Can I cancel an order after it was paid?",
        "What is the difference between leasing and a loan?",
        "Which fees apply to transfers abroad?",
        "How do I change my address?",
    ],
)
def test_a_question_about_the_house_may_be_answered_by_meaning(text):
    assert level(chat(text)) is Eligibility.CACHE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Are you open today?", "time"),
        ("What is the latest offer?", "time"),
        ("What time is it?", "time"),
        ("What is my balance?", Eligibility.SESSION),
        ("Where is my order?", Eligibility.SESSION),
        ("When is my appointment?", Eligibility.SESSION),
        ("I am jo@example.org, who are you?", Eligibility.SESSION),
        ("Call me on +44 20 7946 0018 please", Eligibility.SESSION),
        ("What about order AB-48213?", Eligibility.SESSION),
        ("What about number 48213771?", Eligibility.SESSION),
        ("Which vans are under 52000 dollars?", Eligibility.CACHE),
        ("Cancel the order", Eligibility.EXACT_ONLY),
        ("Please book me a test drive", Eligibility.EXACT_ONLY),
        ("Can you cancel the reservation?", Eligibility.EXACT_ONLY),
        ("I'd like to pay the bill", Eligibility.EXACT_ONLY),
        ("Yes, go ahead", Eligibility.EXACT_ONLY),
        ("No", Eligibility.EXACT_ONLY),
        ("word " * 300, Eligibility.EXACT_ONLY),
    ],
)
def test_time_persons_and_actions_narrow_it(text, expected):
    assert level(chat(text)) == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"temperature": 1.7}, "variety"),
        ({"n": 2}, "variety"),
        ({"tools": [{"type": "web_search"}]}, "hosted-tools"),
        ({"modalities": ["audio"]}, "state"),
        ({"web_search_options": {"a": 1}}, "state"),
        ({"logprobs": True}, Eligibility.EXACT_ONLY),
        ({"tools": [TOOL]}, Eligibility.CACHE),
        ({"temperature": 0.9}, Eligibility.CACHE),
        ({"temperature": "hot"}, "shape"),
    ],
)
def test_options_of_the_request_narrow_it(more, expected):
    assert level(chat(**more)) == expected


def test_pictures_tool_results_and_long_histories_are_exact_only():
    picture = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:x"}}]
    assert level(chat(picture)) is Eligibility.EXACT_ONLY
    called = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    asked = chat()
    asked["messages"] += [called, {"role": "tool", "tool_call_id": "c", "content": "9"}]
    assert level(asked) is Eligibility.EXACT_ONLY
    long = chat()
    long["messages"][1:1] = [{"role": role, "content": "x"} for _ in range(3) for role in ("user", "assistant")]
    assert level(long) is Eligibility.EXACT_ONLY
    assert level(long, {"history": 6}) is Eligibility.CACHE


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        ("responses", {"model": "m", "input": "What is leasing?"}, Eligibility.CACHE),
        ("responses", {"model": "m", "input": "What is leasing?", "previous_response_id": "r"}, "state"),
        ("messages", {"model": "m", "messages": [{"role": "user", "content": "What is leasing?"}]}, Eligibility.CACHE),
        ("completions", {"model": "m", "prompt": "Leasing is"}, Eligibility.EXACT_ONLY),
        ("embeddings", {"model": "m", "input": ["a", "b"]}, Eligibility.EXACT_ONLY),
        ("chat", {"model": "m", "messages": []}, "shape"),
        ("chat", {"model": "m", "messages": ["x"]}, "shape"),
        ("chat", {"model": "m", "messages": 3}, "shape"),
        ("chat", {"model": "m"}, "shape"),
    ],
)
def test_every_dialect_is_read_and_an_unknown_shape_is_passed_by(dialect, body, expected):
    assert level(body, dialect=dialect) == expected


def test_a_users_rule_narrows_and_never_widens():
    rules = [{"workflow": "legal", "level": "never"}, {"agent": "triage", "level": "exact-only"}, {"level": "cache"}]
    assert level(chat(), {"rules": rules}, workflow="legal") == "policy"
    assert level(chat(), {"rules": rules}, agent="triage") is Eligibility.EXACT_ONLY
    assert level(chat(), {"rules": rules}, agent="sales") is Eligibility.CACHE
    assert level(chat("Are you open today?"), {"rules": rules}, agent="sales") == "time"
    private = of(chat(), {"rules": [{"level": "session"}]}, session="s1")
    assert private.judged.private


@pytest.mark.parametrize(
    "given",
    [{"rules": [{"level": "always"}]}, {"alpha": 2}, {"alfa": 0.1}, {"share_from": 1}, {"folder": "../x"}],
)
def test_wrong_options_are_refused_in_one_line(given):
    with pytest.raises(ConfigError, match="cache") as refused:
        options.read(given)
    assert "\n" not in str(refused.value)


def test_a_client_may_say_that_nothing_be_kept_or_all_be_new():
    assert of(chat(), headers=[(b"cache-control", b"no-store")]) == "no-store"
    assert of(chat(), headers=[(b"cache-control", b"no-cache")]).refresh
    assert of(chat("x" * 200_000)) == "large"


def test_what_changes_often_lives_shorter():
    assert of(chat("What does an oil change cost?")).life_s < of(chat("What is leasing?")).life_s


@pytest.mark.parametrize(
    ("name", "given", "acts"),
    [
        ("book_test_drive", "{}", True),
        ("cancelOrder", '{"id":1}', True),
        ("search_vehicles", "{}", False),
        ("get_orders", "{}", False),
        ("transfer_to_sales", "{}", False),
        ("transfer_to_account", '{"amount":5}', True),
    ],
)
def test_tools_that_act_are_told_by_their_names(name, given, acts):
    assert eligibility.is_acting([(name, given)]) == acts


@pytest.mark.parametrize("text", ["a" * 100_000, "1 " * 50_000, "what is " * 9000, "please, " * 9000, "a@" * 40_000])
def test_no_text_takes_long(text):
    """Each would take hours if an expression looked at every piece of every piece."""
    of(chat(text))
