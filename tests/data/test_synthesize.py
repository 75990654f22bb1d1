import random

from tests.levers.small_model import shop
from trimtab.arena.dealership import tasks
from trimtab.arena.tuning import negatives
from trimtab.data import synthesize
from trimtab.data.conversation import Conversation, Funnel


def desk():
    messages = shop.talk(random.Random(1), 1)
    return Conversation(messages=messages, tools=shop.TOOLS, taught=(2, 4, 6, 8), session="s", agent="desk")


def test_a_validator_takes_out_what_would_do_as_well():
    funnel = Funnel()
    acts = synthesize.Acts(acts=("book",))
    every = synthesize.pairs([desk()], acts, Funnel())
    some = synthesize.pairs(
        [desk()], acts, funnel, validator=lambda read, answer: "wrong" if answer.get("tool_calls") else None
    )
    assert len(some) == sum(bool(pair.rejected.get("tool_calls")) for pair in every)
    none = synthesize.pairs([desk()], acts, funnel, validator=lambda read, answer: None)
    assert none == []
    assert funnel.counts[-1].why == {"would do as well": len(every)}


def test_a_missed_hand_off_is_words_instead():
    messages = [shop.SYSTEM, {"role": "user", "content": "I want to buy"}, shop.call("transfer_to_sales", thing="car")]
    each = Conversation(messages=messages, tools=shop.TOOLS, taught=(2,), session="s")
    kinds = {pair.kind: pair.rejected for pair in synthesize.candidates(each, synthesize.Acts())}
    assert not kinds["missed hand-off"].get("tool_calls")


def test_the_oracles_pairs_were_played_and_did_harm():
    found = list(negatives.pairs("train", 12, 3))
    assert {pair.kind for pair in found} == {"wrong tool", "wrong argument", "missed hand-off", "forbidden"}
    assert all(pair.chosen != pair.rejected for pair in found)


def test_harm_says_what_and_nothing_of_the_right_answer():
    task = next(task for task in tasks.draw("train", 200, 3) if task.family == "forbidden")
    declined = {"role": "assistant", "content": "Sorry, I am not allowed to do that."}
    handed = synthesize.calling("transfer_to_sales", {})
    assert "to be declined" in str(negatives.harm(task, [], declined, handed))
    assert negatives.harm(task, [], declined, declined) is None
    assert "error" in str(negatives.harm(task, [], declined, synthesize.calling("fly", {})))
