import pytest

from trimtab.errors import UpstreamError
from trimtab.evals.answer import Answer, ToolCall
from trimtab.evals.replay import Outcome
from trimtab.gate.journal import Answered
from trimtab.gate.outage import Outage
from trimtab.gate.scrubbing import scrubbed

SECRET = "sk-" + "a1B2c3D4e5F6g7H8" * 3


def outcome(error="", **more):
    return Outcome(item="q", cluster="c", score=None if error else 1.0, total_s=1.0, error=error, **more)


def cluster(place, before="", after=""):
    return Answered(place, f"c{place}", (outcome(before),), (outcome(after),))


def places(some):
    return [each.place for each in some]


def passed(outage, answered):
    """Asked and answered with nothing else under way."""
    return places(outage.passed(answered, outage.begun()))


def test_answers_pass_at_once():
    outage = Outage(3)
    assert passed(outage, cluster(0)) == [0]
    assert outage.rest() == []


def test_failures_pass_when_both_answer_again_and_at_the_end():
    outage = Outage(3)
    assert passed(outage, cluster(0, after="down")) == []
    assert passed(outage, cluster(1, before="down")) == []
    assert passed(outage, cluster(2)) == [0, 1, 2]
    assert passed(outage, cluster(3, after="down")) == []
    assert places(outage.rest()) == [3]


def test_an_answer_to_what_was_asked_before_the_failure_says_nothing_of_it():
    outage = Outage(3)
    early = outage.begun()
    assert passed(outage, cluster(1, after="down")) == []
    assert places(outage.passed(cluster(0), early)) == [0]
    assert passed(outage, cluster(2)) == [1, 2]


@pytest.mark.parametrize(("words", "name"), [({"before": "gone"}, "baseline"), ({"after": "gone"}, "candidate")])
def test_too_many_failures_in_a_row_are_an_outage(words, name):
    outage = Outage(3)
    passed(outage, cluster(0, **words))
    passed(outage, cluster(1, **words))
    with pytest.raises(UpstreamError, match=f"the {name} gave no answer to 3 clusters in a row.*gone"):
        passed(outage, cluster(2, **words))


def test_a_cluster_that_was_answered_in_part_is_no_outage():
    part = Answered(0, "c", (outcome(), outcome()), (outcome("down"), outcome()))
    assert passed(Outage(1), part) == [0]


def test_secrets_are_taken_out_of_texts_calls_and_reasons():
    calls = (
        ToolCall("send", {"to": "x", "key": SECRET}),
        ToolCall("send", None, f"{{{SECRET}"),
        ToolCall("ok", {"a": 1}),
    )
    answer = Answer(text=f"take {SECRET}", tool_calls=calls, refusal=f"not {SECRET}")
    clean = scrubbed(Answered(0, "c", (outcome(answer=answer, reason=f"said {SECRET}"),), (outcome(f"no {SECRET}"),)))
    assert SECRET[3:] not in repr(clean)
    held = clean.baseline[0].answer
    assert held.text.startswith("take [redacted") and held.tool_calls[0].arguments["to"] == "x"
    assert held.tool_calls[2] == calls[2]


def test_what_holds_no_secret_stays_as_it_is():
    plain = cluster(0)
    assert scrubbed(plain) == plain
