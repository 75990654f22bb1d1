"""The same sessions played through the gateway by the arena's client, the `openai` SDK and plain `curl`."""

import asyncio
import json
from collections import defaultdict

import aiohttp
import msgspec
import openai
import pytest

from trimtab.arena.client import Caller, Target
from trimtab.arena.dealership import tasks
from trimtab.arena.dealership.session import Played, faults, play, solved_by_oracle
from trimtab.store.traces import TraceReader
from trimtab.trace import EndState
from trimtab.ui.demo import Options, service

TASKS = 6
WAYS = ("arena", "sdk", "curl")


def headers(agent, session):
    return {"x-trimtab-workflow": "dealership", "x-trimtab-agent": agent, "x-trimtab-session": session}


def request(model, messages, schemas):
    return {"model": model, "messages": messages, "tools": schemas, "temperature": 0.0, "max_tokens": 256}


class Sdk:
    """An actor by the `openai` SDK."""

    def __init__(self, client, model, session):
        self.client, self.model, self.session = client, model, session

    async def act(self, agent, messages, schemas):
        answer = await self.client.chat.completions.create(
            **request(self.model, messages, schemas), extra_headers=headers(agent, self.session)
        )
        told = answer.choices[0].message
        message = {"role": "assistant", "content": told.content or ""}
        if told.tool_calls:
            message["tool_calls"] = [call.model_dump() for call in told.tool_calls]
        return message


class Curl:
    """An actor by one `curl` a call."""

    def __init__(self, url, model, session):
        self.url, self.model, self.session = url, model, session

    async def act(self, agent, messages, schemas):
        words = ["content-type: application/json", *map(": ".join, headers(agent, self.session).items())]
        lines = [part for word in words for part in ("-H", word)]
        process = await asyncio.create_subprocess_exec(
            *("curl", "-sS", "--fail-with-body", "--noproxy", "*", "-m", "120", *lines, "--data-binary", "@-"),
            f"{self.url}/chat/completions",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(json.dumps(request(self.model, messages, schemas)).encode())
        assert process.returncode == 0, (out, err)
        told = json.loads(out)["choices"][0]["message"]
        return {**told, "content": told.get("content") or ""}


class Noted:
    """An actor that also writes down whom it played."""

    def __init__(self, actor):
        self.actor, self.asked = actor, []

    async def act(self, agent, messages, schemas):
        self.asked.append(agent)
        return await self.actor.act(agent, messages, schemas)


class Result(msgspec.Struct):
    """One session: the played one, what is wrong with it, and the agent of each call."""

    played: Played
    faults: list[str]
    asked: list[str]


async def play_all(url, model):
    """Way → the results of the tasks in order, one session at a time."""
    todo = tasks.draw("test", TASKS)
    expected = [await solved_by_oracle(task) for task in todo]
    results = defaultdict(list)
    async with aiohttp.ClientSession() as http, openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as sdk:
        makers = {
            "arena": lambda name: Caller(http, Target(url, model), name, lambda action: None),
            "sdk": lambda name: Sdk(sdk, model, name),
            "curl": lambda name: Curl(url, model, name),
        }
        for way, make in makers.items():
            for task, oracle in zip(todo, expected, strict=True):
                actor = Noted(make(f"{way}.{task.id}"))
                played = await play(task, actor)
                results[way].append(Result(played, faults(played, oracle), actor.asked))
    return results


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(results by way, calls in the store by session)."""
    folder = tmp_path_factory.mktemp("clients")
    with service(Options(store=folder, concurrency=4), say=lambda line: None) as up:
        results = asyncio.run(play_all(up.gateway_url, up.model))
    stored = defaultdict(list)
    for trace in TraceReader(folder).scan(bodies=False):
        for call in trace.calls:
            stored[call.session].append(call)
    return results, stored


def test_each_client_solves_the_same_tasks(runs):
    results, _ = runs
    solved = {way: [result.faults == [] for result in results[way]] for way in WAYS}
    assert solved["arena"] == solved["sdk"] == solved["curl"]
    assert sum(solved["arena"]) > TASKS / 2


def test_each_client_leaves_the_same_world_and_tells_the_same(runs):
    results, _ = runs
    for own, sdk, curl in zip(*(results[way] for way in WAYS), strict=True):
        assert own.played.state == sdk.played.state == curl.played.state
        assert own.played.told == sdk.played.told == curl.played.told
        assert own.played.path == sdk.played.path == curl.played.path


def test_every_call_is_in_the_store_with_its_agent_and_its_cost(runs):
    results, stored = runs
    todo = tasks.draw("test", TASKS)
    asked = {f"{way}.{task.id}": result.asked for way in WAYS for task, result in zip(todo, results[way], strict=True)}
    assert {session: [call.agent for call in calls] for session, calls in stored.items()} == asked
    for session, calls in stored.items():
        assert len({call.trace_id for call in calls}) == 1
        for call in calls:
            assert (call.end, call.workflow, call.derived) == (EndState.COMPLETE, "dealership", False)
            assert call.cost_nanodollars > 0
            assert call.usage.input_tokens > 0
            assert call.stream is session.startswith("arena")
