import pytest

from trimtab.arena.tuning import train
from trimtab.arena.tuning.pack import batch, rows
from trimtab.arena.tuning.text import encode

WIDTH = 1024


@pytest.fixture(scope="module")
def packed(examples, tokenizer):
    return list(rows(examples, tokenizer, WIDTH))


def parts_of(row):
    """(ids of head + part, places of the part in the row) of each part."""
    head = [i for i, part in enumerate(row.parts) if part == 0]
    for number in range(1, max(row.parts) + 1):
        places = [i for i, part in enumerate(row.parts) if part == number]
        yield [row.ids[i] for i in head + places], head, places


def test_rows_hold_every_example_whole_and_once(packed, examples, tokenizer):
    got = sorted(ids for row in packed for ids, _, _ in parts_of(row))
    assert got == sorted(encode(tokenizer, example.text)[0] for example in examples)
    assert all(len(row.ids) == len(row.positions) == len(row.labels) == len(row.parts) <= WIDTH for row in packed)


def test_labels_are_the_counted_tokens_and_never_the_head(packed, examples, tokenizer):
    assert all(label in (-100, token) for row in packed for token, label in zip(row.ids, row.labels, strict=True))
    assert all(label == -100 for row in packed for part, label in zip(row.parts, row.labels, strict=True) if part == 0)
    counted = sum(label >= 0 for row in packed for label in row.labels)
    assert counted == sum(sum(encode(tokenizer, example.text)[1]) for example in examples)


def test_an_example_longer_than_a_row_has_a_row_of_its_own(examples, tokenizer):
    alone = list(rows(examples[:6], tokenizer, 64))
    assert [max(row.parts) for row in alone] == [1] * 6
    assert sorted(row.ids for row in alone) == sorted(encode(tokenizer, e.text)[0] for e in examples[:6])


def test_a_longer_example_shares_its_row_with_nobody_and_the_others_still_share(examples, tokenizer):
    lengths = sorted(len(encode(tokenizer, example.text)[0]) for example in examples)
    width = lengths[len(lengths) * 3 // 4]
    mixed = list(rows(examples, tokenizer, width))
    assert {max(row.parts) == 1 for row in mixed if len(row.ids) > width} == {True}
    assert sum(len(row.ids) > width for row in mixed) == sum(length > width for length in lengths)
    assert any(max(row.parts) > 1 for row in mixed)
    got = sorted(ids for row in mixed for ids, _, _ in parts_of(row))
    assert got == sorted(encode(tokenizer, example.text)[0] for example in examples)


def test_packed_rows_give_the_logits_of_the_sequences_alone(packed, tiny, tokenizer):
    import torch

    torch.manual_seed(0)
    model = train.build(tiny, tokenizer).eval()
    chosen = sorted(packed, key=lambda row: -max(row.parts))[:1]
    assert max(chosen[0].parts) >= 3
    inputs = batch(chosen, 0)
    inputs.pop("labels")
    with torch.no_grad():
        together = model(**inputs).logits
        plain = model(input_ids=inputs["input_ids"]).logits
        worst, untreated = 0.0, 0.0
        for line, row in enumerate(chosen):
            for ids, head, places in parts_of(row):
                alone = model(input_ids=torch.tensor([ids])).logits[0, len(head) :]
                worst = max(worst, float((together[line, places] - alone).abs().max()))
                untreated = max(untreated, float((plain[line, places] - alone).abs().max()))
    assert worst < 1e-4
    assert untreated > 1e-3, "the mask and the positions of packing would not matter here"
