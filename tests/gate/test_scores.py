import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import FormatError
from trimtab.gate import scores
from trimtab.gate.scores import Scored


def lines(*items):
    return "\n".join(json.dumps(item) for item in items)


def test_lines_and_columns_say_the_same():
    text = lines(
        {"id": 1, "score": True, "cluster": "a", "slices": ["x", "y"]},
        {"id": "2", "score": 0.5},
        {"id": "3", "score": None},
    )
    table = "id,score,cluster,slices\n1,1,a,x; y\n2,0.5,,\n3,,,\n"
    wanted = [Scored("1", 1.0, "a", ("x", "y")), Scored("2", 0.5, "2"), Scored("3", None, "3")]
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


def test_both_sides_must_have_the_same_items():
    one, two = [Scored("a", 1.0, "a"), Scored("b", 1.0, "b")], [Scored("a", 0.0, "a")]
    with pytest.raises(FormatError, match=r"the candidate lacks 1 items .*\(b\)"):
        scores.matched(one, two)
    with pytest.raises(FormatError, match="the baseline lacks 1 items"):
        scores.matched(two, one)
    with pytest.raises(FormatError, match="another cluster or slice"):
        scores.matched([Scored("a", 1.0, "x")], [Scored("a", 1.0, "y")])


def test_the_order_of_the_files_does_not_matter():
    one = [Scored("b", 1.0, "b"), Scored("a", 0.0, "a")]
    pairs = scores.matched(one, one[::-1])
    assert [(pair.id, pair.baseline, pair.candidate) for pair in pairs] == [("a", 0.0, 0.0), ("b", 1.0, 1.0)]
    assert scores.digest_of(pairs) == scores.digest_of(scores.matched(one[::-1], one))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FormatError, match="cannot read the results"):
        scores.read(tmp_path / "none.csv")
