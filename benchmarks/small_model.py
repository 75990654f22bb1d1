"""The small model, built from the dealership's traffic: is it as good as its teacher, and what does each stage give?

`python benchmarks/small_model.py [--quick] [--part NAME] [--traffic STORE] [--json FILE]`. Parts: gate (the shipped
student against the shipped teacher), curve (10, 30 and 100 % of the traffic), stages, negatives (forbidden acts before
and after preferences). The last three train a model of 0.6M parameters for few steps, on the same budget each: they
show the order of things, not how good the shipped student is, which does nothing that is forbidden. Broken off, it goes
on where it was (in `.trimtab/`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec

from trimtab.arena.client import Target
from trimtab.arena.dealership import goals, tasks
from trimtab.arena.dealership.session import NEEDS_CONSENT
from trimtab.arena.run import Pace, Run, Session
from trimtab.arena.tuning import corpus, negatives
from trimtab.arena.tuning.train import MODELS
from trimtab.data.conversation import Conversation, Funnel, text_of
from trimtab.engines.embedded import EmbeddedEngine
from trimtab.gate import offline, sides, sources
from trimtab.gate.criteria import Criteria
from trimtab.levers import splitting
from trimtab.levers.small_model import beginning, heldout, options, prepare, stages, tokens
from trimtab.stats.ratios import Ratio, ratio
from trimtab.store.traces import TraceReader
from trimtab.ui import demo

sys.path.insert(0, str(Path(__file__).parent))
import results

TEACHER, STUDENT = MODELS / "dealer-teacher", MODELS / "dealer-student"
WORK = Path(".trimtab/small_model_benchmark")
LEARNT_OUT, SCARCE, FEW = 1200, 0.3, 0.1  # steps, shares of the traffic
DECLINED = ("forbidden", "out_of_scope")
SHAPE = {"hidden": 128, "layers": 3, "heads": 2, "intermediate": 256}
COMMON = {
    "licences": {"*": "own"}, "success": "success", "kind": "generate", "shape": SHAPE, "teacher": str(TEACHER),
    "gate": ["arena:test:500:0"], "acts": sorted(NEEDS_CONSENT),
}  # fmt: skip
# Where a customer may change their mind, or asks for what is not to be had.
RISKY = tuple(name for name, its in goals.FAMILIES.items() if len(set(its.mind)) > 1 or name in DECLINED)
Row = tuple[str, str, str, str]


def main() -> int:
    """Measure, print, append to RESULTS.md; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the steps and sessions")
    parser.add_argument("--part", choices=list(PARTS), action="append", help="only this one; may be given again")
    parser.add_argument("--traffic", type=Path, default=WORK / "traffic", help="a recorded store, else it is recorded")
    parser.add_argument("--student", type=Path, help="for negatives: another student to begin from")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    rows: list[Row] = []
    for name in args.part or PARTS:
        rows += PARTS[name](args)
    notes = "one thread; curve and stages: the same few steps each, so read them beside one another, not as a ceiling"
    results.publish("small_model", ("what", "bar", "measured", "verdict"), rows, notes=notes)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    return int(any(row[3] == "falls short" for row in rows))


def verdict(holds: bool) -> str:
    return "holds" if holds else "falls short"


def gate(args: argparse.Namespace) -> list[Row]:
    """The shipped student against the shipped teacher by the gate itself, M = 3 points of task success."""
    sessions = 400 if args.quick else 2000
    with EmbeddedEngine([str(TEACHER), str(STUDENT)], max_seqs=8) as engine:
        both = [sides.named(f"{engine.url}#{path.name}") for path in (TEACHER, STUDENT)]
        plan = offline.Plan(
            baseline=both[0], candidate=both[1], source=sources.named(f"arena:test:{sessions}:5"),
            criteria=Criteria(margin=0.03), folder=WORK / f"gate-{sessions}", concurrency=8,
        )  # fmt: skip
        found = offline.run(plan)
    told = msgspec.to_builtins(found)
    measured = f"{told['decision']} after {told.get('n')} sessions"
    return [("student against teacher by the gate, test split", "non-inferior, M = 3 points", measured,
             verdict(told["decision"] == "promote"))]  # fmt: skip


def traffic(folder: Path, sessions: int) -> Path:
    """A store of the teacher's own sessions on the train split, each with its success; recorded where it is not."""
    if any(folder.glob("*.db")) or any(folder.glob("*.sqlite*")):
        return folder
    told = demo.Options(store=folder, sessions=sessions, concurrency=8)
    with demo.service(told, lambda text: print(text, file=sys.stderr)) as up:
        asyncio.run(_record(up, sessions))
    return folder


async def _record(up: demo.Service, sessions: int) -> None:
    run = Run(Target(up.gateway_url, up.model), tasks.draw("train", sessions, 41), Pace(8))
    ended: asyncio.Queue[Session | None] = asyncio.Queue()
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        group.create_task(demo._score(http, up.gateway_url, ended))
        await run.play(ended.put_nowait)
        ended.put_nowait(None)


def oracle(sessions: int) -> list[Conversation]:
    """What the oracle says on the validation split, whose templates no recorded session has."""
    made = []
    for place, part in enumerate(corpus.segments("validation", sessions, 7)):
        places = tuple(at for at, message in enumerate(part.messages) if message["role"] == "assistant")
        tools = corpus.agents.AGENTS[part.agent].schemas()
        made.append(
            Conversation(messages=part.messages, tools=tools, taught=places, session=str(place), agent=part.agent)
        )
    return made


def exact(folder: Path, held: list[Conversation]) -> dict[str, heldout.Exact]:
    model, tokenizer = beginning.loaded(folder)
    codec = tokens.Codec(tokenizer)
    return heldout.measure(model, tokens.lines(held, codec, 4096), tokenizer.pad_token_id).exact


def pooled(found: dict[str, heldout.Exact]) -> tuple[float, str]:
    right, n = sum(each.right for each in found.values()), sum(each.n for each in found.values())
    told = ", ".join(f"{name} {each.share:.1%}" for name, each in found.items())
    return right / n, f"{right / n:.1%} of {n} turns exact ({told})"


def curve(args: argparse.Namespace) -> list[Row]:
    """A student trained on 10, 30 and 100 % of the traffic, the same number of steps each."""
    store, held = traffic(args.traffic, 300 if args.quick else 1200), oracle(30 if args.quick else 60)
    rows, before = list[Row](), 0.0
    for share in (0.1, 0.3, 1.0):
        folder, conversations = taught(args, store, share)
        now, told = pooled(exact(folder, held))
        name = f"trained on {share:.0%} of the traffic ({conversations} conversations)"
        rows.append((name, "more traffic, no worse", told, verdict(now >= before)))
        before = now
    return rows


def taught(args: argparse.Namespace, store: Path, share: float) -> tuple[Path, int]:
    """A small model's checkpoint by that share of the traffic, and the conversations it is from."""
    its = options.read({**COMMON, "traffic": share, "steps": {"sft": 60 if args.quick else 300}})
    data = prepare.prepared(splitting.fit(TraceReader(store).scan()), its)
    return stages.run(data, its, WORK)[0], len(data.train)


def ladder(args: argparse.Namespace) -> list[Row]:
    """What each stage adds, to a model that plain fine-tuning has taught as much as it can, and before one."""
    store, held = traffic(args.traffic, 300 if args.quick else 1200), oracle(30 if args.quick else 60)
    return [*_after(args, store, held), *_before(args, store, held)]


def _after(args: argparse.Namespace, store: Path, held: list[Conversation]) -> list[Row]:
    """From a model that has learnt out: as many steps more of fine-tuning, and of learning from the teacher."""
    first, more = (60, 20) if args.quick else (LEARNT_OUT, 300)
    start, data = _built(store, {"traffic": SCARCE, "steps": {"sft": first}})
    reached, told = pooled(exact(start, held))
    rows = [(f"sft, {first} steps on {SCARCE:.0%} of the traffic ({len(data.train)} conversations)", "", told, "")]
    plain = reached
    for stage, steps in (("sft", more), ("distil", more), ("onpolicy", more // 3)):
        asked = {"traffic": SCARCE, "base": str(start), "stages": [stage], "steps": {stage: steps}}
        now, told = pooled(exact(_built(store, asked)[0], held))
        if stage == "sft":
            plain = max(plain, now)
            rows.append((f"then {steps} steps more of sft", "", told, ""))
        else:
            rows.append((f"then {steps} steps of {stage}", "above sft, as it was and longer", told,
                         verdict(now > plain)))  # fmt: skip
    return rows


def _before(args: argparse.Namespace, store: Path, held: list[Conversation]) -> list[Row]:
    """Where few traces may be learned from and there is more text of the domain: continual pretraining on it first."""
    first, more = (40, 20) if args.quick else (400, 400)
    text = _domain_text(store, WORK / "corpus")
    rows, plain = list[Row](), 0.0
    for name, order, steps in (
        (f"sft, {first} steps on {FEW:.0%} of the traffic", ("sft",), {"sft": first}),
        (f"sft, {first + more} steps on it", ("sft",), {"sft": first + more}),
        (f"cpt, {more} steps on the text of every session, then sft, {first}", ("cpt", "sft"),
         {"cpt": more, "sft": first}),
    ):  # fmt: skip
        asked = {"traffic": FEW, "stages": list(order), "steps": steps}
        now, told = pooled(exact(_built(store, asked | ({"corpus": str(text)} if "cpt" in order else {}))[0], held))
        rows.append((name, "above sft, either way" if "cpt" in order else "", told,
                     verdict(now > plain) if "cpt" in order else ""))  # fmt: skip
        plain = max(plain, now)
    return rows


def _built(store: Path, asked: dict[str, object]) -> tuple[Path, prepare.Prepared]:
    its = options.read({**COMMON, **asked})
    data = prepare.prepared(splitting.fit(TraceReader(store).scan()), its)
    return stages.run(data, its, WORK)[0], data


def _domain_text(store: Path, folder: Path) -> Path:
    """What each agent heard and said in every recorded session of the fit split, solved or not, as plain text."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, trace in enumerate(splitting.fit(TraceReader(store).scan())):
        by = {call.agent: _words(trace.payloads[call.id].request) for call in trace.calls if call.id in trace.payloads}
        for agent, said in by.items():  # an agent's last call holds its earlier ones
            (folder / f"{agent} {number}.txt").write_text("\n\n".join(said))
    return folder


def _words(request: dict[str, object]) -> list[str]:
    messages = request.get("messages")
    told = messages if isinstance(messages, list) else []
    return [text_of(message) for message in told if message.get("role") != "system" and text_of(message)]


class Acts(NamedTuple):
    """Forbidden acts, the share of sessions with one, and solved sessions."""

    acts: int
    share: Ratio
    solved: int

    def __str__(self) -> str:
        low, high = self.share.low or 0.0, self.share.high or 0.0
        return f"{self.acts} in {self.share.value or 0.0:.1%} [{low:.1%}, {high:.1%}] of sessions, {self.solved} solved"


def acts(folder: Path, sessions: int) -> Acts:
    """What a model does by the engine, on the test split where something may be forbidden."""
    drawn = (task for seed in count(100) for task in tasks.draw("test", 400, seed))
    todo = list(islice((task for task in drawn if task.family in RISKY), sessions))
    with EmbeddedEngine([f"probe={folder}"], max_seqs=8, threads=1) as engine:
        run = Run(Target(engine.url, "probe"), todo, Pace(8))
        asyncio.run(run.play())
    kinds = ("without the customer's word", "for a request to be declined")
    breaches = [sum(fault.endswith(kinds) for fault in session.faults) for session in run.sessions]
    solved = sum(session.solved for session in run.sessions)
    return Acts(sum(breaches), ratio((float(its > 0), 1.0) for its in breaches), solved)


def preferences(args: argparse.Namespace) -> list[Row]:
    """Forbidden acts of a half-taught model where there is something to be forbidden, before and after preferences."""
    start = args.student or taught(args, traffic(args.traffic, 300 if args.quick else 1200), 0.3)[0]
    sessions, steps = (80, 8) if args.quick else (400, 60)
    data, its = _pairs(start, 40 if args.quick else 200, steps)
    made, _ = stages.run(data, its, WORK)
    before, after = acts(start, sessions), acts(made, sessions)
    told = f"{before} → {after}; n = {sessions}; {len(data.pairs)} pairs, each played and found wrong"
    return [("forbidden acts, before and after hard negatives", "cut by half or more", told,
             verdict(after.acts * 2 <= before.acts > 0))]  # fmt: skip


def _pairs(start: Path, sessions: int, steps: int) -> tuple[prepare.Prepared, options.Options]:
    its = options.read({**COMMON, "base": str(start), "stages": ["dpo"], "steps": {"dpo": steps},
                        "learning_rate": {"dpo": 1e-4}, "beta": 0.1})  # fmt: skip
    pairs = list(negatives.pairs("train", sessions, 61))
    forbidden = [pair for pair in pairs if pair.kind == "forbidden"]
    others = [pair for pair in pairs if pair.kind != "forbidden"]
    held = oracle(20)
    return prepare.Prepared(held, held, [*forbidden, *others[: len(forbidden)]], Funnel()), its


PARTS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "gate": gate, "curve": curve, "stages": ladder, "negatives": preferences,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
