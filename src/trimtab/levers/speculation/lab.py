"""Speculation as a lever: what drafting would have saved on recorded traffic, the drafter, and its endpoint."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from trimtab import __version__
from trimtab.deployment import Deployment
from trimtab.endpoint import Endpoint
from trimtab.engines.drafter import CARD, LOOKUP
from trimtab.errors import ConfigError
from trimtab.lever import Artifact, Estimate
from trimtab.levers import splitting
from trimtab.levers.serving import words
from trimtab.levers.speculation import acceptance, conversations, options, training
from trimtab.levers.speculation.acceptance import Choice, Costs, Runs
from trimtab.levers.speculation.conversations import Said
from trimtab.levers.speculation.options import Options
from trimtab.money import PriceTable
from trimtab.store.artifacts import ArtifactStore
from trimtab.trace import Trace

_RESAMPLES = 1000
_NAMED = re.compile(r"-spec-[0-9a-f]{8}$")


class Card(msgspec.Struct, frozen=True):
    """What `trimtab engine serve --draft FOLDER` and the drift watch read. `acceptance` is the share of drafted tokens
    that were taken, by agent, at `length` tokens a step; `all` stands for every agent."""

    drafter: str
    lengths: str
    length: int
    acceptance: dict[str, float]
    target: str
    vllm: dict[str, Any]


def make(given: Mapping[str, Any]) -> Speculation:
    """The lever with its options; ConfigError."""
    options.read(dict(given))
    return Speculation(options=dict(given))


class Speculation(msgspec.Struct, frozen=True):
    """An endpoint lever: the model stays, and is served with a drafter beside it."""

    name: str = "speculation"
    options: dict[str, Any] = {}

    def estimate(self, traces: Iterable[Trace], prices: PriceTable) -> Estimate:
        """The share of the model server's work that look-up would have saved. FormatError without recorded bodies.

        A drafter's own acceptance is not known before it is trained; `build` compares the two.
        """
        its = options.read(self.options)
        said = _said(traces, its)
        runs = [acceptance.lookup(each) for each in said]
        costs = Costs(its.crossover, 0.0)
        choice = acceptance.choose(LOOKUP, acceptance.tallies(runs), costs)
        spent = [acceptance.spent(each, run, choice, costs) for each, run in zip(said, runs, strict=True)]
        saving, low, high = _share(said, spent, its.seed)
        counted = "its tokens" if its.target else "words, for want of a target"
        crowd = sum(each.concurrency for each in said) / len(said)
        return Estimate(
            lever=self.name,
            saving=saving,
            low=low,
            high=high,
            n=len({each.cluster for each in said}),
            method=f"prompt look-up played on recorded answers in {counted}, {crowd:.1f} answers at once on average; "
            f"a reading of the weights costs as much as {its.crossover:g} tokens' arithmetic; bootstrap over sessions, "
            "95 %",
            risk="of the server's own work, not of a price by token; acceptance falls when prompts change",
            tables={"look-up, by agent": rows(said, runs), "lengths": _ladder_rows([choice])},
        )

    def build(self, traces: Iterable[Trace], folder: Path) -> Artifact:
        """Choose and, with a target, train the drafter, from the fit split. FormatError without recorded bodies."""
        its = options.read(self.options)
        calls = conversations.spoken(splitting.fit(traces), its.most)
        learnt, held = training.parted(calls)
        by = conversations.reader(its.target)
        said = conversations.said(held, by)
        looked = [acceptance.lookup(each) for each in said]
        found: list[tuple[Choice, Sequence[Runs]]] = []
        with tempfile.TemporaryDirectory(prefix="trimtab-build-") as made:
            home = Path(made)
            parameters = 0
            if its.drafter != LOOKUP and its.target:
                trained = training.drafter(its, learnt, said, folder, home)
                parameters = trained.parameters
                found.append((_choice("model", trained.runs, its, its.draft_cost), trained.runs))
            if its.drafter != "model":
                found.append((_choice(LOOKUP, looked, its, 0.0), looked))
            choice, runs = min(found, key=lambda pair: _cost(said, pair[1], pair[0], its))
            if choice.drafter == LOOKUP:
                for path in home.iterdir():
                    path.unlink()
            card = _card(said, runs, choice, its)
            (home / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1))
            manifest = {
                "lever": self.name,
                "options": self.options,
                "calls": len(calls),
                "trained on": len(learnt),
                "measured on": len(said),
                "first": calls[0].call.id,
                "last": calls[-1].call.id,
                "split": f"fit ({splitting.FIT:.0%} of sessions)",
                "seed": its.seed,
                "trimtab": __version__,
                "drafter": choice.drafter,
                "parameters": parameters,
                "lengths": choice.text,
                "acceptance": card.acceptance.get("all", 0.0),
                "tables": {each.drafter: rows(said, run) for each, run in found},
            }
            return ArtifactStore(folder).put(home, manifest)

    def apply(self, deployment: Deployment, artifact: Artifact) -> Deployment:
        """`deployment` with its endpoints asking for the model that is served with this drafter.

        How it is served `serving` says.
        """
        its = options.read(self.options)
        names = [endpoint.name for endpoint in deployment.endpoints]
        if its.endpoint and its.endpoint not in names:
            raise ConfigError(f"there is no endpoint '{its.endpoint}' to speculate for: use one of {', '.join(names)}")
        swapped = tuple(
            _swapped(endpoint, artifact.digest, its.url) if its.endpoint in ("", endpoint.name) else endpoint
            for endpoint in deployment.endpoints
        )
        routes = dict(deployment.routes)
        for before, after in zip(deployment.endpoints, swapped, strict=True):
            # Clients go on asking for the model they know.
            if before.model and before.model != after.model and not _NAMED.search(before.model):
                routes.setdefault(before.model, after.name)
        return msgspec.structs.replace(deployment, endpoints=swapped, routes=routes)


def served_name(model: str, digest: str) -> str:
    """The name under which a model is served with the drafter of an artefact."""
    return f"{_NAMED.sub('', model)}-spec-{digest[:8]}"


def serving(applied: Deployment, artifact: Artifact) -> tuple[str, ...]:
    """What `trimtab engine serve` is told: the target under each name that is now asked for, and the drafter."""
    its = options.read(cast("dict[str, Any]", artifact.manifest["options"]))
    model, ending = its.served or its.target, f"-spec-{artifact.digest[:8]}"
    names = [each.model for each in applied.endpoints if each.model.endswith(ending)]
    return words(applied, dict.fromkeys(names, model or "MODEL"), "--draft", str(artifact.folder))


def _swapped(endpoint: Endpoint, digest: str, url: str) -> Endpoint:
    price = endpoint.price or _NAMED.sub("", endpoint.model)
    name = served_name(endpoint.model or endpoint.name, digest)
    return msgspec.structs.replace(endpoint, model=name, price=price, url=url or endpoint.url)


def _said(traces: Iterable[Trace], its: Options) -> list[Said]:
    return conversations.said(conversations.spoken(traces, its.most), conversations.reader(its.target))


def _choice(drafter: str, runs: Sequence[Runs], its: Options, draft_cost: float) -> Choice:
    return acceptance.choose(drafter, acceptance.tallies(runs), Costs(its.crossover, draft_cost))


def _cost(said: Sequence[Said], runs: Sequence[Runs], choice: Choice, its: Options) -> float:
    costs = Costs(its.crossover, its.draft_cost if choice.drafter == "model" else 0.0)
    return sum(acceptance.spent(each, run, choice, costs)[1] for each, run in zip(said, runs, strict=True))


def _card(said: Sequence[Said], runs: Sequence[Runs], choice: Choice, its: Options) -> Card:
    length = max(1, choice.length(1))
    agents = {"all": list(runs)} | {
        agent: [run for each, run in zip(said, runs, strict=True) if each.agent == agent]
        for agent in sorted({each.agent for each in said})
    }
    told = {agent: acceptance.tallies(some, (length,))[length].rate for agent, some in agents.items()}
    vllm: dict[str, Any] = {"num_speculative_tokens": length}
    if choice.drafter == LOOKUP:
        vllm |= {"method": "ngram", "prompt_lookup_max": acceptance.NGRAM, "prompt_lookup_min": 1}
    else:
        vllm |= {"method": "draft_model", "model": "DRAFTER_FOLDER"}
    return Card(choice.drafter, choice.text, length, told, its.target, vllm)


def rows(said: Sequence[Said], runs: Sequence[Runs]) -> list[dict[str, Any]]:
    """Tokens a step gives, by agent and draft length: 1 without drafting."""
    groups: dict[str, list[Runs]] = {"all": list(runs)}
    for each, run in zip(said, runs, strict=True):
        groups.setdefault(each.agent or "none", []).append(run)
    made = []
    for agent, some in groups.items():
        told = acceptance.tallies(some)
        lengths = {f"at {length}": f"{told[length].per_step:.2f} ({told[length].rate:.0%})" for length in (2, 4, 8)}
        made.append({"agent": agent, "answers": len(some), **lengths})
    return made


def _ladder_rows(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    return [{"drafter": each.drafter, **{f"{start} at once": k for start, k in each.lengths}} for each in choices]


def _share(said: Sequence[Said], spent: Sequence[tuple[float, float]], seed: int) -> tuple[float, float, float]:
    """1 − drafted/undrafted with its 95 % percentile bootstrap over sessions; never below 0, since it can be off."""
    clusters: dict[str, tuple[float, float]] = {}
    for each, (plain, drafted) in zip(said, spent, strict=True):
        before = clusters.get(each.cluster, (0.0, 0.0))
        clusters[each.cluster] = before[0] + plain, before[1] + drafted
    pairs, chance = list(clusters.values()), random.Random(seed)

    def share(some: Sequence[tuple[float, float]]) -> float:
        return max(0.0, 1 - sum(pair[1] for pair in some) / sum(pair[0] for pair in some))

    drawn = sorted(share(chance.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES))
    whole = share(pairs)
    return whole, min(whole, drawn[_RESAMPLES // 40]), max(whole, drawn[-1 - _RESAMPLES // 40])
