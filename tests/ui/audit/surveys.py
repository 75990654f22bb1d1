"""A survey that says something in every field, and one that says next to nothing."""

from trimtab.money import Usage
from trimtab.plan import findings as f
from trimtab.plan.audit import measure
from trimtab.plan.examples import Example
from trimtab.plan.portfolio import Chosen, Portfolio
from trimtab.plan.spending import AgentUse, Spend
from trimtab.plan.spread import Spreads
from trimtab.plan.survey import Reading, Survey
from trimtab.plan.timeline import Stage
from trimtab.plan.tools import ToolUse
from trimtab.plan.worth import Evidence, Weighed, Word, Worth
from trimtab.trace import Call, EndState, Trace

HOSTILE = '<script>alert("x")</script> & <img src=x onerror=alert(1)>'
AGENTS = ("triage", "sales", "finance", "service", "")
GROUPS = ((0.42, 0.3), (0.3, 0.25), (0.16, 0.2), (0.1, 0.2), (0.02, 0.05))
WHOLE = 48_213_000_000


def fig(value, spread=0.1, n=400, **more):
    return f.Figure(
        value=value, low=value * (1 - spread), high=value * (1 + spread), n=n, method="cluster bootstrap", **more
    )


def call(index):
    return Call(
        id=f"c{index}",
        trace_id=f"t{index % 700}",
        span_id=f"{index:016x}",
        started_ns=1_700_000_000 * 10**9 + index * 10**9,
        duration_ms=300 + (index * 7919) % 4000 + (9000 if index % 37 == 0 else 0),
        end=EndState.COMPLETE if index % 50 else EndState.CUT,
        cost_nanodollars=1_000_000 * (1 + (index * 31) % 40),
        usage=Usage(input_tokens=600 + (index * 104729) % 9000, output_tokens=(index * 13) % 400),
    )


def calls(n=4321):
    return [call(index) for index in range(n)]


def use(name, share, workflow="dealership"):
    return f.Use(
        name=name,
        workflow=workflow,
        calls=int(4321 * share),
        failed=int(20 * share),
        spend=Spend(int(WHOLE * share), int(4321 * share), 3),
        share=share,
        per_call=fig(11e6),
        input_tokens=int(9.9e6 * share),
        output_tokens=int(7e5 * share),
        cache_read_tokens=int(6e6 * share),
        reasoning_tokens=0,
        latency_p50_ms=812.0,
        latency_p90_ms=2210.0,
        latency_p99_ms=9120.0,
        ttft_p50_ms=140.0,
        ttft_p90_ms=300.0,
        look_at=("c1", "c2"),
    )


def where():
    parts = ((f.Part.SYSTEM, 0.24), (f.Part.TOOLS, 0.18), (f.Part.HISTORY, 0.26), (f.Part.RETRIEVED, 0.09))
    parts += ((f.Part.RESULTS, 0.06), (f.Part.ASKED, 0.02), (f.Part.OUTPUT, 0.13))
    text = (
        "You are the triage agent of Harbor Road Motors. Today is … .\nRoute the customer … to the right desk. "
        + HOSTILE
    )
    return f.Where(
        workflows=(use("dealership", 0.93, ""), use("nightly-reports", 0.07, "")),
        agents=tuple(use(name, share) for name, (share, _) in zip(AGENTS, GROUPS, strict=True)),
        models=(use("gpt-4o-2024-11-20", 0.8, ""), use("gpt-4o-mini", 0.2, "")),
        templates=(
            f.Template(
                workflow="dealership",
                agent="triage",
                text=text,
                slots=2,
                constant=0.83,
                calls=1800,
                distinct=1650,
                spend=Spend(20_000_000_000, 1800, 0),
                share=fig(0.41),
                input_tokens=4_000_000,
                output_tokens=200_000,
                latency_p50_ms=700.0,
                look_at=("c1",),
            ),
        ),
        parts=tuple(
            f.PartUse(
                workflow="",
                agent="",
                part=part,
                share=fig(share),
                tokens=int(1e7 * share),
                nanodollars=int(WHOLE * share),
            )
            for part, share in parts
        ),
        lost=(
            f.Lost(kind="cut stream", end=EndState.CUT, spend=Spend(400_000_000, 80, 0), share=fig(0.02)),
            f.Lost(kind="retry", end=None, spend=Spend(100_000_000, 21, 0), share=fig(0.005)),
        ),
    )


def shape():
    nodes = tuple(
        f.Node(
            workflow="dealership",
            agent=name,
            calls=int(4000 * share),
            tasks=700,
            spend=Spend(int(WHOLE * share), 100, 0),
            path_seconds=4000 * time,
            path_share=time,
        )
        for name, (share, time) in zip(AGENTS[:4], GROUPS[:4], strict=True)
    )
    edges = tuple(
        f.Edge(
            workflow="dealership",
            source=source,
            target=target,
            count=times,
            transfers=times,
            success=fig(0.9, 0.05, times),
            returned=3,
            asked_again=times // 20,
            done_again=0,
        )
        for source, target, times in (
            *(
                ("triage", "sales", 240),
                ("triage", "service", 210),
                ("triage", "finance", 78),
                ("sales", "finance", 28),
            ),
            *(("service", "sales", 14), ("service", "triage", 9), ("finance", "finance", 4)),
        )
    )
    flow = f.Flow(
        workflow="dealership",
        tasks=700,
        calls=fig(6.0),
        calls_p50=5.0,
        calls_p90=11.0,
        chain=fig(5.4),
        wall_p50_s=8.4,
        wall_p90_s=21.0,
        bounds=tuple(
            f.Bound(agent=name, stage=stage, seconds=4.0 * share, share=share)
            for name, stage, share in (
                *(("triage", Stage.PREFILL, 0.28), ("sales", Stage.DECODE, 0.22), ("sales", Stage.TOOLS, 0.17)),
                *(("service", Stage.MODEL, 0.14), ("finance", Stage.DECODE, 0.1), ("", Stage.CUSTOMER, 0.06)),
                *(("finance", Stage.TOOLS, 0.02), ("service", Stage.OTHER, 0.01)),
            )
        ),
        in_parallel=fig(0.06),
        fan_out=3,
        tools_an_answer=fig(1.2),
        density=fig(0.27),
        redundancy=fig(0.04),
        likeness=fig(0.21),
        growth=fig(412.0),
    )
    turns = tuple(
        f.Turn(
            workflow="dealership",
            turn=turn,
            tokens=fig(900 + 400.0 * turn),
            p50=850 + 400.0 * turn,
            p90=1300 + 520.0 * turn,
        )
        for turn in range(1, 13)
    )
    outcome = f.Outcome(
        workflow="dealership",
        success=fig(0.78),
        per_solved=fig(88e6),
        solved_cost=fig(61e6),
        unsolved_cost=fig(91e6),
        ratio=fig(1.49),
        solved_calls=fig(5.2),
        unsolved_calls=fig(8.8),
        solved_messages=fig(21.7),
        unsolved_messages=fig(30.0),
        tokens_per_solved=fig(18_000.0),
    )
    return f.Shape(
        flows=(flow,),
        nodes=nodes,
        edges=edges,
        turns=turns,
        outcomes=(outcome,),
        modes=(
            f.Mode(
                workflow="dealership",
                name="step repetition",
                rule="the same tool call three times in one task",
                share=fig(0.06),
                spend=Spend(3_000_000_000, 200, 0),
                unsolved=fig(0.71),
            ),
        ),
        repeated_tools=(
            f.RepeatedTool(
                workflow="dealership",
                tool="find_customer",
                calls=348,
                share=fig(0.11),
                most=4,
                spend=Spend(200_000_000, 20, 0),
            ),
        ),
    )


def waste():
    return f.Waste(
        repeats=f.Leak(
            share=fig(0.034), spend=Spend(1_600_000_000, 140, 0), saving=1_500_000_000, note="all within an hour"
        ),
        near=(f.Leak(agent="triage", share=fig(0.12), spend=Spend(2_000_000_000, 200, 0), saving=1_900_000_000),),
        prefix=f.Prefix(
            possible=fig(0.52),
            had=fig(0.21),
            fixable=fig(0.71),
            breaks=(
                f.Break(
                    workflow="dealership",
                    agent="triage",
                    cause="a timestamp at the head of the system prompt",
                    sample=f"Today is 2024-05-15 15:00:00 {HOSTILE}",
                    share=fig(0.93, look_at=("c1", "c2")),
                    tokens=3_100_000,
                ),
            ),
        ),
        history=(f.Leak(agent="sales", of="tokens", share=fig(0.44), spend=Spend(9_000_000_000, 900, 0)),),
        unused_tools=(
            f.UnusedTool(
                workflow="dealership",
                agent="finance",
                tool="withdraw_application",
                offered=440,
                share=fig(0.004),
                tokens=91_000,
            ),
        ),
        cut=(f.Leak(agent="service", share=fig(0.01), spend=Spend(100_000_000, 9, 0)),),
        verbosity=(
            f.Verbosity(
                workflow="dealership",
                agent="sales",
                output=fig(210.0),
                output_p90=501.0,
                reasoning=fig(0.2),
                per_solved=fig(1300.0),
            ),
        ),
        batchable=(
            f.Leak(
                workflow="nightly-reports", share=fig(1.0, 0), spend=Spend(3_300_000_000, 300, 0), saving=1_650_000_000
            ),
        ),
        blocks=f.Blocks(
            requests=4000,
            blocks=90_000,
            distinct=57_000,
            size=512,
            reused=fig(0.366, 0.02),
            curve=tuple(f.Reuse(10**power, 0.04 + 0.054 * power) for power in range(1, 7)),
        ),
    )


def worths():
    rows = (
        (
            "triage",
            "cache",
            Word.WORTH,
            0.18,
            Evidence.MEASURED,
            "one call in six was asked before, in these or other words",
        ),
        (
            "triage",
            "labels",
            Word.WORTH,
            0.71,
            Evidence.MEASURED,
            "its answers are 6 labels; a small encoder agrees on 93 % of held-out calls",
        ),
        (
            "sales",
            "prefix",
            Word.WORTH,
            0.22,
            Evidence.COUNTED,
            "half of the tokens come again at the head of the prompt",
        ),
        ("sales", "routing", Word.TRY, 0.3, Evidence.CEILING, "four calls in ten look easy"),
        ("finance", "small model", Word.TRY, 0.5, Evidence.CEILING, "narrow: one template, answers of one grammar"),
        ("service", "speculation", Word.NO, 0.0, Evidence.COUNTED, "answers do not repeat their prompts"),
        ("", "cache", Word.SKIPPED, 0.0, Evidence.CEILING, "too few calls"),
    )
    return tuple(
        Worth(
            workflow="dealership",
            agent=agent,
            lever=lever,
            word=word,
            says=says,
            n=1800,
            saving=value,
            low=value * 0.7,
            high=min(1.0, value * 1.3),
            seconds=value * 0.8,
            seconds_low=value * 0.5,
            seconds_high=value,
            quality=0.01 if value else 0.0,
            evidence=evidence,
            missing=("labels of what was right", "a week of traffic"),
            risk="wrong answers for rare questions",
            effort="an hour",
            breaks="a changed system prompt",
            method="replayed in order of time",
            look=("c1",),
            facts={"agreement": 0.93, "labels": ["buy", "service"], "price": {"per_1k": 0.01}},
        )
        for agent, lever, word, value, evidence, says in rows
    )


def portfolio():
    chosen = (
        ("labels", "triage", 0.3, 0.3),
        ("cache", "triage", 0.08, 0.01),
        ("prefix", "sales", 0.07, 0.07),
        ("small model", "finance", 0.08, 0.06),
    )
    return Portfolio(
        chosen=tuple(
            Chosen(
                workflow="dealership",
                agent=agent,
                lever=lever,
                alone=alone,
                added=added,
                low=added * 0.6,
                high=added * 1.3,
                seconds=added,
                quality=0.004,
                risk="low",
            )
            for lever, agent, alone, added in chosen
        ),
        saving=0.44,
        low=0.31,
        high=0.52,
        summed=0.53,
        seconds=0.3,
        quality=0.012,
        nanodollars=int(WHOLE * 0.44),
        left_out=(("dealership", "service", "speculation", "answers do not repeat their prompts"),),
    )


def full():
    held = calls()
    audit = measure([Trace(f"t{index}", (one,)) for index, one in enumerate(held)])
    spreads = Spreads()
    for one in held:
        spreads.add(one)
    agents = tuple(
        AgentUse(
            agent=name,
            calls=int(4321 * share),
            spend=Spend(int(WHOLE * share), 10, 0),
            share=share,
            input_tokens=10,
            output_tokens=5,
            cache_read_tokens=0,
            model_seconds=99.0,
            ttft_p50_ms=None,
            latency_p50_ms=1.0,
            latency_p90_ms=2.0,
        )
        for name, (share, _) in zip(AGENTS, GROUPS, strict=True)
    )
    fields = {name: getattr(audit, name) for name in audit.__struct_fields__}
    totals = {name: getattr(audit.totals, name) for name in audit.totals.__struct_fields__}
    totals |= {
        "spend": Spend(WHOLE, 4300, 21),
        "traces": 700,
        "sessions": 700,
        "scored": 700,
        "solved": 546,
        "success": 0.78,
    }
    totals |= {
        "success_low": 0.748,
        "success_high": 0.809,
        "per_solved": WHOLE // 546,
        "session_p50": 8.4,
        "session_p90": 21.0,
    }
    changed = fields | {
        "totals": type(audit.totals)(**totals),
        "agents": agents,
        "tools": (
            ToolUse(
                tool="find_customer", calls=348, share=0.6, errors=35, seconds=12.0, context_tokens=2205, repeats=38
            ),
            ToolUse(
                tool="search_vehicles", calls=233, share=0.4, errors=0, seconds=91.0, context_tokens=12_342, repeats=0
            ),
        ),
        "sampled": f.Sampled(sessions=600, calls=3700, share=0.86, cut=2, with_bodies=3600),
        "where": where(),
        "traffic": (
            f.Traffic(
                workflow="dealership",
                calls=4000,
                hours=26.5,
                input_p50=1020.0,
                input_p90=4000.0,
                output_p50=129.0,
                output_p90=400.0,
                burstiness=fig(1.09),
                peak=4.2,
            ),
        ),
        "shape": shape(),
        "waste": waste(),
    }
    reading = Reading(
        source="/var/log/llm/spend-2026-11.jsonl.gz",
        read=4330,
        kept=4321,
        known=9,
        bad=3,
        samples=(f"line 12: not JSON {HOSTILE}", "line 80: longer than 64 MiB"),
        remarks={"negative tokens": 2},
    )
    examples = tuple(
        Example(
            id=f"c{index}",
            workflow="dealership",
            agent="triage",
            model="gpt-4o",
            input_tokens=1200,
            output_tokens=80,
            nanodollars=4_000_000,
            duration_ms=900.0,
            shows=("prefix broken by a timestamp", "near repeat"),
            request=f"system: You are the triage agent…\nuser: {HOSTILE} mail me at [EMAIL]",
            answer="transfer_to_sales({})",
        )
        for index in (1, 2)
    )
    return Survey(
        reading=(reading,),
        audit=type(audit)(**changed),
        spreads=spreads.result(),
        weighed=Weighed(worths=worths(), cpu_s=3.1, notes=("the encoder was not tried on 1 agent: too few calls",)),
        portfolio=portfolio(),
        examples=examples,
        prices="2026-11-01",
    )


def bare():
    """Nothing could be read."""
    return Survey(reading=(Reading(source="empty.jsonl", read=0, kept=0, known=0, bad=1),), audit=measure([]))
