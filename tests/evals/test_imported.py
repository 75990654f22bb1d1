"""Results of other tools: what a score may be, pairs, and the samples of lm-eval."""

import importlib.util
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evals.test_suite import JSON
from trimtab.errors import FormatError, MissingExtra
from trimtab.evals import imported, inspect_bridge, lm_eval_logs, logs, scorers
from trimtab.evals.imported import Choice, Result
from trimtab.evals.suite import JudgeSpec


def sample(number, **fields):
    """A line as lm-eval 0.4 writes it (lm_eval/evaluator.py, loggers/evaluation_tracker.py)."""
    return json.dumps(
        {
            "doc_id": number,
            "doc": {"question": f"{number}+1?", "subject": "sums", "page": number // 2},
            "target": str(number + 1),
            "arguments": {"gen_args_0": {"arg_0": f"Q: {number}+1?", "arg_1": {"until": ["\n"]}}},
            "resps": [["4"]],
            "filtered_resps": ["4"],
            "filter": "none",
            "metrics": ["exact_match"],
            "doc_hash": f"d{number}",
            "prompt_hash": f"p{number}",
            "target_hash": f"t{number}",
            "exact_match": float(number % 2),
            **fields,
        }
    )


def parsed(*lines, **choice):
    return lm_eval_logs.parse("\n".join(lines) + "\n", "x", Choice(**choice))


def test_samples_of_lm_eval(tmp_path):
    path = tmp_path / "samples_sums_2026.jsonl"
    path.write_text("\n".join(sample(number) for number in range(3)))
    assert lm_eval_logs.read(path) == [
        Result("0", 0.0, "0", (), "d0-p0-t0"),
        Result("1", 1.0, "1", (), "d1-p1-t1"),
        Result("2", 0.0, "2", (), "d2-p2-t2"),
    ]
    by_page = lm_eval_logs.read(path, Choice(cluster="page", slice_="subject"))
    assert [(each.cluster, each.slices) for each in by_page] == [("0", ("sums",)), ("0", ("sums",)), ("1", ("sums",))]


def test_one_filter_and_one_metric_are_taken():
    two = {"metrics": ["acc", "acc_norm"], "acc": 1, "acc_norm": 0}
    lines = [sample(0, filter="strict", **two), sample(0, filter="loose", **two)]
    with pytest.raises(FormatError, match="filters are loose, strict: name the one"):
        parsed(*lines)
    with pytest.raises(FormatError, match="metrics are acc, acc_norm: name the one"):
        parsed(*lines, part="strict")
    assert [each.score for each in parsed(*lines, part="loose", metric="acc")] == [1]


@pytest.mark.parametrize(
    ("line", "choice", "wanted"),
    [
        ("", {}, "x has no samples"),
        ("{", {}, "x:1: no sample of lm-eval"),
        ("[]", {}, "x:1: no sample of lm-eval"),
        ('{"doc_id": 1}', {}, "x:1: no sample of lm-eval"),
        (sample(1), {"part": "strict"}, "no sample has the filter 'strict'"),
        (sample(1), {"metric": "acc"}, "x:1: no metric 'acc': there are exact_match"),
        (sample(1, exact_match=[1, 2]), {}, "x:1: the score [1, 2] is not in [0, 1]"),
        (sample(1, exact_match=17.5), {}, "x:1: the score 17.5 is not in [0, 1]"),
        (sample(1, exact_match=float("inf")), {}, "x:1: the score inf"),
        (sample(1), {"cluster": "author"}, "x:1: the document has no 'author'"),
    ],
)
def test_samples_that_will_not_do(line, choice, wanted):
    with pytest.raises(FormatError) as caught:
        parsed(line, **choice)
    assert wanted in str(caught.value)


def test_what_was_not_scored_is_missing():
    assert [each.score for each in parsed(sample(1, exact_match=float("nan")), sample(2, exact_match=None))] == [
        None
    ] * 2


@given(st.text(max_size=80), JSON)
def test_any_text_is_results_or_a_format_error(text, value):
    for lines in (
        [text],
        [sample(1), text],
        [sample(1, exact_match=value)],
        [sample(1, doc=value, metrics=["filter"])],
    ):
        try:
            assert parsed(*lines)
        except FormatError as error:
            assert str(error).startswith("x")


def test_pairs():
    before = [Result("a", 1.0, "a", content="h"), Result("b", None, "b")]
    after = [Result("b", 0.0, "b", content="k"), Result("a", 0.0, "a", content="h")]
    assert [(pair.baseline.id, pair.candidate.id) for pair in imported.paired(before, after)] == [
        ("a", "a"),
        ("b", "b"),
    ]


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        ([], "the candidate has no results"),
        ([Result("a", 1.0, "a")] * 2, "the candidate has the item 'a' twice"),
        ([Result("a", 1.0, "a"), Result("b", 1.0, "b")], "the baseline lacks 1 items of the other side (b)"),
        ([Result("c", 1.0, "c")], "the candidate lacks 1 items of the other side (a)"),
        ([Result("a", 1.0, "a", content="other")], "item 'a' is another question"),
        ([Result("a", 1.0, "z")], "item 'a' is in another cluster"),
        ([Result("a", 1.0, "a", ("hard",))], "item 'a' is in another cluster or slice"),
    ],
)
def test_what_cannot_be_paired(after, wanted):
    with pytest.raises(FormatError) as caught:
        imported.paired([Result("a", 1.0, "a", content="h")], after)
    assert wanted in str(caught.value)


def test_lines_for_a_verdict():
    text = imported.lines([Result("a", 1.0, "s", ("x",), "h"), Result("b", None, "b")])
    assert [json.loads(line) for line in text.splitlines()] == [
        {"id": "a", "score": 1.0, "cluster": "s", "slices": ["x"]},
        {"id": "b", "score": None, "cluster": "b", "slices": []},
    ]


def test_logs_are_told_apart(tmp_path):
    samples, scores = tmp_path / "samples_sums.jsonl", tmp_path / "scores.jsonl"
    samples.write_text("\n" + sample(1))
    scores.write_text('{"id": 1, "score": 1}')
    assert logs.is_log(samples) and logs.is_log(tmp_path / "x.eval") and logs.is_log(tmp_path / "x.json")
    assert not logs.is_log(scores) and not logs.is_log(tmp_path / "x.csv") and not logs.is_log(tmp_path / "none.jsonl")
    assert [each.id for each in logs.read(samples)] == ["1"]


def test_what_needs_an_extra_says_so(monkeypatch, tmp_path):
    real = importlib.util.find_spec
    gone = {"inspect_ai", "jsonschema"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in gone else real(name, *rest))
    with pytest.raises(MissingExtra, match=r"trimtab\[evals\]"):
        logs.read(tmp_path / "x.eval")
    with pytest.raises(MissingExtra, match=r"trimtab\[evals\]"):
        inspect_bridge.run(inspect_bridge.Plan(task="x.py", url="u", model="m", logs=tmp_path))
    with pytest.raises(MissingExtra, match=r"trimtab\[gate\]"):
        scorers.make(JudgeSpec("json_schema"))
