import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import FormatError
from trimtab.evals import imported
from trimtab.evals.imported import Result
from trimtab.gate import scores


def lines(*items):
    return "\n".join(json.dumps(item) for item in items)


def test_lines_and_columns_say_the_same():
    text = lines(
        {"id": 1, "score": True, "cluster": "a", "slices": ["x", "y"]},
        {"id": "2", "score": 0.5},
        {"id": "3", "score": None},
    )
    table = "id,score,cluster,slices\n1,1,a,x; y\n2,0.5,,\n3,,,\n"
    wanted = [Result("1", 1.0, "a", ("x", "y")), Result("2", 0.5, "2"), Result("3", None, "3")]
    assert scores.parse(text, "f") == wanted
    assert scores.parse(table, "f", is_csv=True) == wanted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"id": 1, "score": NaN}', "f:1: no JSON"),
        ('{"id": 1, "score": 1}\n\n{"id": "1", "score": 0}', "f:3: the id '1' was on line 1"),
        ('{"id": 1, "score": 1.5}', "outside"),
        ('{"id": 1, "score": -0.1}', "outside"),
        ('{"id": 1}', "score"),
        ('{"id": 1, "score": "good"}', "score in"),
        ('{"id": "", "score": 1}', "id is empty"),
        ('{"id": 1, "score": 1, "slices": [""]}', "slice without a name"),
        ("", "has no results"),
        ("[1]", "f:1"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(text, told):
    with pytest.raises(FormatError, match=told):
        scores.parse(text, "f")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,points\n1,2\n", "no columns 'id' and 'score'"),
        ("id,score\n1,nan\n", "outside"),
        ("id,score\n1,much\n", "score in"),
        ('id,score\n"1,2\n', "no CSV"),
        ("id,score\n1,1\n1,1\n", "f:3: the id '1' was on line 2"),
    ],
)
def test_so_it_is_in_a_table(text, told):
    with pytest.raises(FormatError, match=told):
        scores.parse(text, "f", is_csv=True)


@given(
    st.text()
    | st.lists(st.sampled_from(['{"id":', '"a"', '"score":', "1", "NaN", "null", "}", ",", "\n"])).map("".join)
)
def test_whatever_comes_is_read_or_refused(text):
    for is_csv in (False, True):
        try:
            found = scores.parse(text, "f", is_csv=is_csv)
        except FormatError as error:
            assert "\n" not in str(error)[:200].strip() or is_csv
            continue
        assert all(each.score is None or 0 <= each.score <= 1 for each in found)
        assert len({each.id for each in found}) == len(found) > 0


def test_the_order_of_the_files_does_not_matter():
    one = [Result("b", 1.0, "b"), Result("a", 0.0, "a")]
    pairs = imported.paired(one, one[::-1])
    assert scores.digest_of(pairs) == scores.digest_of(imported.paired(one[::-1], one))
    assert scores.digest_of(pairs) != scores.digest_of(imported.paired(one[:1], one[:1]))


def test_samples_of_lm_eval_are_read_as_they_are(tmp_path):
    path = tmp_path / "samples_gsm8k.jsonl"
    path.write_text('{"doc_id": 3, "doc": {}, "filter": "none", "metrics": ["acc"], "acc": 1.0}\n')
    assert scores.read(path) == [Result("3", 1.0, "3")]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FormatError, match="cannot read the results"):
        scores.read(tmp_path / "none.csv")
