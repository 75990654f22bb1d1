"""Items, and a way to ask a judge, for the tests here."""

import asyncio

from trimtab.evals import scorers
from trimtab.evals.answer import Answer, ToolCall
from trimtab.evals.suite import Item, JudgeSpec

HI = {"messages": [{"role": "user", "content": "hi"}]}


def item(expected=None, name="i", cluster="", body=None, slices=(), judge=""):
    return Item(name, cluster or name, body or HI, expected, slices, judge)


def judged(kind, expected, answer, slices=(), request=None, **options):
    """What a judge of that kind says of an answer: a text, or calls as (name, arguments)."""
    if isinstance(answer, str):
        answer = Answer(answer)
    elif isinstance(answer, list):
        answer = Answer(tool_calls=tuple(ToolCall(name, arguments) for name, arguments in answer))
    judge = scorers.make(JudgeSpec(kind, options))
    return asyncio.run(judge.score(item(expected, slices=slices, body=request), answer))
