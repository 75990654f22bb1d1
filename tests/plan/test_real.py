"""What must hold on real data, against figures that were made without Trimtab."""

import os
from pathlib import Path

import pytest

from tests.plan import tau_by_hand
from trimtab.config import shipped_prices
from trimtab.plan.audit import Auditor
from trimtab.store.formats.reading import ImportReport
from trimtab.store.logs import records

DATA = Path(os.environ.get("TRIMTAB_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))


def data(*parts):
    path = DATA.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"the real data is not there ({path}): set TRIMTAB_DATA to its folder")
    return path


def audited(path):
    auditor = Auditor(shipped_prices())
    for record, scores in records(path, shipped_prices(), report=ImportReport()):
        auditor.add(record, scores)
    return auditor.result()


@pytest.fixture(scope="module")
def tau():
    path = data("tau_bench", "gpt-4o-airline.json")
    return audited(path), tau_by_hand.add_up(path)


def test_calls_tokens_and_cost_of_tau_bench_agree_with_a_count_by_hand(tau):
    audit, tasks = tau
    totals = audit.totals
    assert totals.calls == sum(task["calls"] for task in tasks)
    assert totals.input_tokens == pytest.approx(sum(task["in"] for task in tasks), rel=0.01)
    assert totals.output_tokens == pytest.approx(sum(task["out"] for task in tasks), rel=0.01)
    assert totals.spend.nanodollars / 1e9 == pytest.approx(sum(task["usd"] for task in tasks), rel=0.01)
    (model,) = audit.where.models
    assert (model.name, model.calls, model.share) == ("gpt-4o", totals.calls, 1)


def test_failing_tasks_of_tau_bench_cost_more_than_solved_ones(tau):
    audit, tasks = tau
    (outcome,) = audit.shape.outcomes
    solved = [task for task in tasks if task["solved"]]
    unsolved = [task for task in tasks if not task["solved"]]
    assert (outcome.solved_cost.n, outcome.unsolved_cost.n) == (len(solved), len(unsolved))
    # Each trajectory ends with one message more, which no model was sent: 30.0 and 21.7 with it.
    assert outcome.unsolved_messages.value + 1 == pytest.approx(30.0, abs=0.05)
    assert outcome.solved_messages.value + 1 == pytest.approx(21.7, abs=0.05)
    for figure, its in ((outcome.solved_cost, solved), (outcome.unsolved_cost, unsolved)):
        assert figure.value / 1e9 == pytest.approx(sum(task["usd"] for task in its) / len(its), rel=0.01)
        assert figure.low < figure.value < figure.high
    assert 1 < outcome.ratio.low < outcome.ratio.value
    assert outcome.per_solved.value == pytest.approx(audit.totals.spend.nanodollars / len(solved))
    # The trials of a task are alike: the interval is wider than one over 200 independent ones.
    assert outcome.success.high - outcome.success.low > audit.totals.success_high - audit.totals.success_low


def test_repeated_tool_calls_of_tau_bench_are_found(tau):
    audit, tasks = tau
    found = sum(round(row.share.value * row.calls) for row in audit.shape.repeated_tools)
    assert found == sum(task["repeats"] for task in tasks) > 0
    assert all(row.share.look_at for row in audit.shape.repeated_tools)
    loop = next(mode for mode in audit.shape.modes if mode.name == "loop")
    assert loop.share.look_at


def test_context_grows_with_each_turn_of_tau_bench(tau):
    audit, _ = tau
    (flow,) = audit.shape.flows
    assert 0 < flow.growth.low < flow.growth.value < flow.growth.high
    means = {turn.turn: turn.tokens.value for turn in audit.shape.turns}
    assert means[1] < means[5] < means[10] < means[15]
    (history,) = audit.waste.history
    assert 0.3 < history.share.value < 0.5


def test_parts_of_tau_bench_sum_to_its_tokens(tau):
    audit, _ = tau
    every = [part for part in audit.where.parts if not part.agent]
    assert sum(part.tokens for part in every) == pytest.approx(
        audit.totals.input_tokens + audit.totals.output_tokens, rel=1e-3
    )
    assert sum(part.share.value for part in every) == pytest.approx(1)
    assert sum(part.nanodollars for part in every) == pytest.approx(audit.totals.spend.nanodollars, rel=1e-3)


def test_mooncake_blocks_are_reused_as_known():
    audit = audited(data("mooncake", "conversation_trace.jsonl"))
    blocks = audit.waste.blocks
    assert blocks.reused.value == pytest.approx(0.366, abs=0.005)
    assert (blocks.requests, blocks.sampled) == (12_031, 1.0)
    shares = [point.share for point in blocks.curve]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(blocks.reused.value)
    assert shares[0] < 0.05


@pytest.mark.parametrize(
    ("name", "asked", "answered", "burstiness"), [("conv", 1_020, 129, 1.09), ("code", 1_469, 13, 13.2)]
)
def test_azure_traffic_is_as_published(name, asked, answered, burstiness):
    (traffic,) = audited(data("azure_llm_2023", f"{name}.csv")).traffic
    assert (traffic.input_p50, traffic.output_p50) == (asked, answered)
    assert traffic.burstiness.value == pytest.approx(burstiness, rel=0.01)
    assert traffic.burstiness.low < traffic.burstiness.value < traffic.burstiness.high
