from itertools import pairwise

from trimtab.arena.dealership import phrases
from trimtab.arena.tuning import corpus


def test_the_same_seed_gives_the_same_texts_and_another_seed_others(examples):
    assert list(corpus.examples("train", 40, 3)) == examples
    assert list(corpus.examples("train", 40, 4)) != examples


def test_every_agent_is_there_and_each_text_begins_with_its_head(examples):
    assert {example.agent for example in examples} == {"triage", "sales", "finance", "service"}
    assert all(example.text.startswith(example.head) for example in examples)


def test_rare_moves_can_come_more_often():
    def new_customers(segments):
        return [segment.messages for segment in segments if "register_customer" in str(segment.messages)]

    plain, chosen = (list(corpus.segments("train", 400, 3, rare=rare)) for rare in (False, True))
    assert new_customers(chosen) == new_customers(plain)
    assert len(new_customers(chosen)) / len(chosen) > 3 * len(new_customers(plain)) / len(plain) > 0
    assert len(chosen) > len(new_customers(chosen))  # the others do not vanish


def test_blocks_have_goals_of_their_own():
    opened = [s.messages[1]["content"] for s in corpus.segments("train", 2 * corpus.BLOCK, 3) if s.agent == "triage"]
    first, second = opened[: corpus.BLOCK], opened[corpus.BLOCK :]
    assert len(second) == corpus.BLOCK
    assert len(set(first) & set(second)) < 10


def test_tool_calls_are_followed_by_their_results(segments):
    for segment in segments:
        for one, next_one in pairwise(segment.messages):
            if one.get("tool_calls"):
                assert next_one["role"] == "tool"
                assert next_one["tool_call_id"] == one["tool_calls"][0]["id"]


def test_training_opens_with_no_template_of_the_test_split():
    train, test = ({t for ask in phrases.ASKS for t in phrases.openings(ask, split)} for split in ("train", "test"))
    assert not train & test
