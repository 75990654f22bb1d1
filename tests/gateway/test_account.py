"""What a call says of itself at its end."""

from tests.gateway.test_chain import Tail
from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.gateway import wire
from trimtab.gateway.account import Account
from trimtab.gateway.dialects.protocol import Answer
from trimtab.gateway.live import Live
from trimtab.money import Price, PriceTable
from trimtab.trace import EndState

TABLE = PriceTable("v1", {"m": Price(input=1, output=2)})


def account(tmp_path, endpoint, headers=()):
    live = Live(Deployment(name="d", endpoints=(endpoint,)), TABLE, Tail(), tmp_path)
    made = Account(live, headers)
    made.head = wire.head(b'{"model": "m"}')
    made.notes.endpoint = endpoint
    return made


def test_a_step_that_failed_is_noted_on_the_call(tmp_path):
    made = account(tmp_path, Endpoint(name="e", url="http://e"))
    made.notes.step_errors += ["cache: KeyError: x", "route: ValueError: y"]
    call = made.call(EndState.COMPLETE)
    assert call.tags == {"trimtab.step_error": "cache: KeyError: x; route: ValueError: y"}


def test_the_price_is_looked_up_by_the_endpoints_name_for_it_then_by_the_model(tmp_path):
    usage = {"prompt_tokens": 3, "completion_tokens": 1}
    for endpoint, cost in (
        (Endpoint(name="e", url="http://e"), 5000),
        (Endpoint(name="e", url="http://e", price="x"), None),
    ):
        made = account(tmp_path, endpoint)
        made.answered(Answer("m", "stop", usage))
        assert made.call(EndState.COMPLETE).cost_nanodollars == cost


def test_headers_are_one_line_each(tmp_path):
    made = account(tmp_path, Endpoint(name="é\r\nx: y", url="http://e"))
    assert dict(made.own_headers())[b"x-trimtab-endpoint"] == "éx: y".encode("latin-1")


def test_a_step_that_keeps_answers_says_what_it_found(tmp_path):
    made = account(tmp_path, Endpoint(name="e", url="http://e"))
    assert (b"x-trimtab-cache", b"off") in made.own_headers()
    made.notes.cache = "hit"
    assert (b"x-trimtab-cache", b"hit") in made.own_headers()
