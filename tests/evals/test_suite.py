"""Suites as they are read: what a line may say, what is refused and where, and the order that a seed gives."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evals.items import item
from trimtab.errors import FormatError
from trimtab.evals import suite

BODY = {"messages": [{"role": "user", "content": "2+2?"}]}
HEAD = """+++
name = "sums"
protected = ["hard"]
[judge]
kind = "normalised"
options = { articles = true }
[judges.tools]
kind = "tool_calls"
+++
"""


def line(**fields):
    return json.dumps({"id": "a", "body": BODY, "expected": "4", **fields})


def parsed(*lines, head=""):
    return suite.parse(head + "\n".join(lines) + "\n", "sums.jsonl", "sums")


def test_a_file_with_a_head(tmp_path):
    path = tmp_path / "s.jsonl"
    lines = [line(slices=["hard"]), "", line(id=2, cluster=7, expected=[], judge="tools")]
    path.write_text("\ufeff\n" + HEAD + "\r\n".join(lines), encoding="utf-8")
    read = suite.read(path)
    assert read.name == "sums" and read.protected == ("hard",)
    first, second = read.items
    assert (first.id, first.cluster, first.slices, first.expected) == ("a", "a", ("hard",), "4")
    assert (second.id, second.cluster, second.expected) == ("2", "7", [])
    assert read.judge_of(first).options == {"articles": True} and read.judge_of(second).kind == "tool_calls"


def test_lines_alone_are_a_suite(tmp_path):
    path = tmp_path / "bare.jsonl"
    path.write_text(line())
    assert suite.read(path).name == "bare" and suite.read(path).judge.kind == "exact"


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (["{"], "sums.jsonl:1: no JSON object"),
        (["[1]"], "sums.jsonl:1: Expected `object`"),
        ([line(), "nonsense"], "sums.jsonl:2: no JSON object"),
        ([line(), line()], "sums.jsonl:2: the id 'a' was on line 1 already"),
        ([line(id="")], "sums.jsonl:1: the id is empty"),
        ([line(body={})], "sums.jsonl:1: 'body' is no chat request"),
        ([line(body={"messages": []})], "sums.jsonl:1: 'body' is no chat request"),
        ([line(body={**BODY, "model": "gpt"})], "sums.jsonl:1: take 'model' out"),
        ([line(slices=[""])], "sums.jsonl:1: a slice without a name"),
        ([line(judge="nobody")], "sums.jsonl:1: there is no judge 'nobody'"),
        ([line(expected=None)], "sums.jsonl:1: the judge 'exact' compares with 'expected'"),
        ([line(expectd="4")], "unknown field `expectd`"),
        ([line(expected="\ud800")], "sums.jsonl:1: "),
        (["[" * 5000], "sums.jsonl:1: "),
        ([line().replace('"4"', "[" * 300 + "]" * 300)], "more than 200 levels of nesting"),
        ([line().replace('"4"', "NaN")], "sums.jsonl:1: no JSON object"),
        ([], "has no items"),
        (["+++", 'name = "x"'], "sums.jsonl:1: the head that '+++' begins has no end"),
        (["+++", "name = ", "+++", line()], "sums.jsonl:1: the head is not valid TOML"),
        (["+++", "nme = 'x'", "+++", line()], "unknown field `nme`"),
        (["+++", "[judge]", "kind = 'guess'", "+++", line()], "Invalid enum value 'guess'"),
        (["+++", "judge.options.a = 2024-01-01", "+++", line()], "the head holds a date"),
        (["+++", "judge.options.a = inf", "+++", line()], "the head holds a number that is not finite"),
        (["+++", "protected = ['rare']", "+++", line()], "no item is in the protected slice 'rare'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(lines, wanted):
    with pytest.raises(FormatError) as caught:
        parsed(*lines)
    assert wanted in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FormatError, match="cannot read the suite"):
        suite.read(tmp_path / "none.jsonl")


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode(errors="replace")))
def test_any_text_is_a_suite_or_a_format_error(text):
    for whole in (text, HEAD + text, line() + "\n" + text):
        try:
            suite.parse(whole, "x")
        except FormatError as error:
            assert str(error)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(min_size=1, max_size=9), JSON, st.lists(st.text(min_size=1, max_size=5), max_size=3))
def test_what_is_written_is_read(name, expected, slices):
    """And its digest does not depend on how the line is written."""
    made = item([expected], name=name, slices=tuple(slices))
    raw = msgspec.json.encode(made).decode()
    read = suite.parse(raw, "x", "x")
    assert read.items == (made,)
    spaced = json.dumps(json.loads(raw), indent=None, separators=(" , ", " : "), sort_keys=True)
    assert suite.parse(f"\n{spaced}\n\n", "x", "x").digest == read.digest


def test_the_digest_tells_suites_apart():
    digests = {
        parsed(line()).digest,
        parsed(line(expected="5")).digest,
        parsed(line(id="b")).digest,
        parsed(line(slices=["hard"]), head="+++\nprotected = ['hard']\n+++\n").digest,
        parsed(line(slices=["hard"])).digest,
        parsed(line(), head="+++\n[judge]\nkind = 'normalised'\n+++\n").digest,
    }
    assert len(digests) == 6


def test_the_order_is_the_seeds_own():
    """Fixed by seed and content; another seed gives another; each place is taken by each cluster about as often."""
    one = parsed(*(line(id=str(number), cluster=str(number // 2)) for number in range(12)))
    other = suite.of(tuple(reversed(one.items)), name="sums")
    assert suite.order(one, 1) == suite.order(one, 1)
    assert sorted(suite.order(one, 1).clusters) == [str(number) for number in range(6)]
    assert suite.order(one, 1).digest != suite.order(one, 2).digest
    assert suite.order(one, 1).digest != suite.order(other, 1).digest
    firsts = [suite.order(one, seed).clusters[0] for seed in range(600)]
    assert all(60 <= firsts.count(str(number)) <= 140 for number in range(6))


def test_clusters_keep_their_items():
    read = parsed(*(line(id=str(number), cluster=str(number % 2)) for number in range(5)))
    assert {name: [each.id for each in held] for name, held in suite.clusters(read).items()} == {
        "0": ["0", "2", "4"],
        "1": ["1", "3"],
    }
