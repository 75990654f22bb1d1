"""What other models' prices saved: each call's own tokens at the price that it would have had before."""

from hypothesis import given
from hypothesis import strategies as st

from tests.plan.conftest import call
from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.gateway.trial import SHADOW
from trimtab.money import Price, PriceTable, Usage
from trimtab.plan.spending import Moved, Moves
from trimtab.trace import CACHE_TAG, SAVED_TAG

PRICES = PriceTable("t", {"large": Price(input=10.0, output=20.0), "small": Price(input=1.0, output=2.0)})
BEFORE = Deployment(
    "before", (Endpoint("e", "http://127.0.0.1:9/v1", model="m", price="large"),), routes={"alias": "e"}
)


def one(model="m", tokens=(1000, 100), price="small", **fields):
    usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1])
    cost = PRICES.cost(price, usage)
    return call("c", 0, 1, request_model=model, usage=usage, cost_nanodollars=cost and cost.nanodollars, **fields)


def of(*calls):
    moves = Moves(BEFORE, PRICES)
    for each in calls:
        moves.add(each)
    return moves.moved()


def test_what_a_cheaper_model_saved():
    assert of(one(), one("alias")) == Moved(2, 2 * (1000 * 9_000 + 100 * 18_000))
    assert of(one(price="large")) == Moved()


def test_what_is_no_part_of_it():
    twice, unknown, empty = one(tags={SHADOW: "x"}), one("never configured"), one(tokens=(0, 0))
    assert of(twice, unknown, empty) == Moved()
    assert of(one(price="no such price"), one(tags={CACHE_TAG: "hit"})) == Moved(unpriced=2)


def test_a_kept_answer_saves_what_it_would_have_cost_before():
    at_small = one(tags={CACHE_TAG: "hit", SAVED_TAG: str(1000 * 1_000 + 100 * 2_000)})
    at_large = one(tags={CACHE_TAG: "hit", SAVED_TAG: str(1000 * 10_000 + 100 * 20_000)})
    assert of(at_small) == Moved(1, 1000 * 9_000 + 100 * 18_000)
    assert of(at_large) == Moved()


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(["large", "small"]))))
def test_it_is_the_difference_of_the_two_bills(calls):
    moved = of(*(one(tokens=(given, said), price=price) for given, said, price in calls))
    before = sum(given * 10_000 + said * 20_000 for given, said, _ in calls)
    paid = sum((given * 10_000 + said * 20_000) // (10 if price == "small" else 1) for given, said, price in calls)
    assert moved.nanodollars == before - paid
