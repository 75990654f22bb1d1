"""The drift part of a report says of texts only where there were some."""

import pytest

from trimtab.evals import drift
from trimtab.evals.answer import Answer
from trimtab.evals.replay import Outcome
from trimtab.gate import drifting


def outcome(name, score, text):
    return Outcome(item=name, cluster=name, slices=("buy",), answer=Answer(text), score=score, total_s=1)


@pytest.mark.parametrize("text", ["", "yes", "It costs 300 dollars."])
def test_sessions_without_text_have_no_style(text):
    pairs = [(outcome(str(n), 1, text), outcome(str(n), n % 2, text)) for n in range(20)]
    told = "\n".join(drifting.lines(drift.report(pairs)))
    assert "50.0% of 20 verdicts flip" in told
    assert "| buy | 20 | 0 | 10 |" in told
    for word in ("same to the letter", "| compression |", "| declined |"):
        assert (word in told) is bool(text)
    # A table begins behind an empty line, or it is no table.
    assert "\n\n| slice |" in told
