import pytest

from tests.arena.test_outcome import PRICES, session
from trimtab.arena import outcome
from trimtab.arena.tuning.card import card

CONFIG = {
    "num_hidden_layers": 6,
    "hidden_size": 384,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 2048,
    "max_position_embeddings": 4096,
}
RECORD = {
    "parameters": 10_224_000,
    "steps": 1100,
    "tokens": 4_321_000,
    "counted_tokens": 987_000,
    "rare": [0.64, 0.86],
    "seed": 7,
    "torch": "2.13.0+cpu",
    "log": [
        {"step": 50, "loss": 3.5, "held_out": 3.25, "turns": 0.125},
        {"step": 1100, "loss": 0.01234, "held_out": 0.0567, "turns": 0.9375},
    ],
}


def page(sessions):
    result = outcome.of(sessions, 3.0, PRICES, "m")
    return card("dealer-test", CONFIG, RECORD, 20.48, result, "int8"), result


@pytest.fixture(scope="module")
def mixed():
    """Nine of ten sessions solved, in two families; seven of eight hand-offs right."""
    went = {"path": ("triage", "sales"), "expected": ("triage", "sales")}
    lost = {"path": ("triage", "service"), "expected": ("triage", "sales"), "faults": ("wrong orders", "not told: 4")}
    return page([session(0), session(1), *(session(n, family="reserve", **went) for n in range(2, 9)),
                 session(9, family="reserve", **lost)])  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        "# dealer-test\n",
        "A 10.22M-parameter transformer",
        "| shape | 6 layers, hidden 384, 6 heads (2 for keys and values), vocabulary 2,048, context 4,096 |",
        "| size on disk | 20.5 MB, bf16 |",
        "4.32M tokens, of them 0.99M assistant tokens",
        "| steps, seed | 1,100, seed 7, torch 2.13.0+cpu |",
        "| loss | 0.0123 on the last training batch, 0.0567 on the validation split",
        "| 93.8% of the validation split's |",
        "| hand-offs as the oracle's | 87.5% of 8 |",
        "| goal family | solved | of |\n|---|---|---|\n| info | 2 | 2 |\n| reserve | 7 | 8 |\n",
        "Most frequent faults: wrong orders (1).",
        "greedy, precision int8, in ten draws of tasks |",
    ],
)
def test_a_card_tells_what_was_measured(mixed, told):
    assert told in mixed[0]


def test_success_comes_with_its_interval(mixed):
    told, result = mixed
    low, high = result.success.low, result.success.high
    assert f"**90.0%** of 10 sessions (95 % interval {low:.1%} to {high:.1%})" in told
    assert 0.5 < low < 0.9 < high < 1


def test_nothing_is_left_open_and_no_faults_are_told_as_none(mixed):
    told, _ = page([session()])
    assert "Most frequent faults: none." in told
    for text in (told, mixed[0]):
        assert "{" not in text
        assert "None" not in text


def test_only_the_most_frequent_faults_are_told():
    told, _ = page([session(n, faults=(f"fault {kind}",)) for kind in range(6) for n in range(6 - kind)])
    assert "Most frequent faults: fault 0 (6), fault 1 (5), fault 2 (4), fault 3 (3)." in told
