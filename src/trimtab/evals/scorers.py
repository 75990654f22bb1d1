"""The judges that need no model, and `make`, which makes any judge of its spec."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from trimtab.errors import ConfigError, require
from trimtab.evals import graded, safety, sameness
from trimtab.evals.answer import Answer, ToolCall
from trimtab.evals.judge import Judge, Judgement, missing, right, version_of, wrong
from trimtab.evals.suite import Item, JudgeSpec, Suite

_REVISION = 1
# What an environment may raise over calls that it did not expect.
_RAISED = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
Environment = Callable[[dict[str, Any], list[dict[str, Any]]], Any]


class _Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the options of the kinds here may be; each kind names its own below."""


class Texts(_Options, frozen=True, forbid_unknown_fields=True):
    """Of `exact` and `normalised`. `pattern`: of the answer only what the first group of its last match holds (the
    whole match where it has none) is compared. `articles`: English articles do not count."""

    pattern: str = ""
    articles: bool = False

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"'{self.pattern}' is no regular expression: {error}") from error


class Text:
    """1 where the answer is what is expected, or one of a list of such; outer white space never counts."""

    def __init__(self, spec: JudgeSpec, options: Texts) -> None:
        self.version = version_of(spec, _REVISION)
        self._options = options
        self._exact = spec.kind == "exact"

    async def score(self, item: Item, answer: Answer) -> Judgement:
        said = answer.text
        if self._options.pattern:
            found = list(re.finditer(self._options.pattern, said))
            if not found:
                return wrong("the pattern is not in the answer")
            said = found[-1].group(1 if found[-1].re.groups else 0) or ""
        wanted = item.expected if isinstance(item.expected, list) else [item.expected]
        texts = [each if isinstance(each, str) else json.dumps(each) for each in wanted]
        if any(self._plain(said) == self._plain(text) for text in texts):
            return right()
        return wrong(f"'{_short(said)}' instead of '{_short(texts[0] if texts else '')}'")

    def _plain(self, text: str) -> str:
        return text.strip() if self._exact else sameness.normalised(text, articles=self._options.articles)


class Schemas(_Options, frozen=True, forbid_unknown_fields=True):
    """Of `json_schema`. `schema` empty: that of the request's own `response_format`. `fenced`: a ``` fence round the
    answer is taken off."""

    schema: dict[str, Any] = {}
    fenced: bool = False


class Schema:
    """1 where the answer is JSON that the schema allows and, if something is expected, the same value."""

    def __init__(self, spec: JudgeSpec, options: Schemas) -> None:
        require("gate", "jsonschema")
        import jsonschema
        import referencing

        self.version = version_of(spec, _REVISION)
        self._options = options
        # An empty registry: a schema that points to an address is not fetched.
        self._validator: Any = partial(jsonschema.Draft202012Validator, registry=referencing.Registry())
        self._errors = (jsonschema.exceptions.SchemaError, referencing.exceptions.Unresolvable, RecursionError)

    async def score(self, item: Item, answer: Answer) -> Judgement:
        text = answer.text.strip()
        if self._options.fenced and (fence := re.fullmatch(r"```\w*\n(.*?)\n?```", text, re.DOTALL)):
            text = fence[1]
        try:
            value = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError):
            return wrong(f"no JSON: '{_short(text)}'")
        schema = self._options.schema or _asked_schema(item.body)
        if not schema and item.expected is None:
            return missing("neither a schema nor an expected value: give the judge one")
        validator: Any = self._validator(schema)
        try:
            validator.check_schema(schema)
            fault = next(validator.iter_errors(value), None)
        except self._errors as error:
            return missing(f"the schema cannot be used: {_short(str(error))}")
        if fault is not None:
            return wrong(f"at {fault.json_path}: {_short(fault.message)}")
        if item.expected is not None and not sameness.same(value, item.expected):
            return wrong(f"another value: '{_short(text)}'")
        return right()


def _asked_schema(body: dict[str, Any]) -> dict[str, Any]:
    """The schema in a request's `response_format`; {} where there is none."""
    wanted = body.get("response_format")
    named = wanted.get("json_schema") if isinstance(wanted, dict) else None
    schema = named.get("schema") if isinstance(named, dict) else None
    return schema if isinstance(schema, dict) else {}


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


class Calls(_Options, frozen=True, forbid_unknown_fields=True):
    """Of `tool_calls`. `ordered` false: any order will do. `ignore`: arguments that do not count, by name."""

    ordered: bool = True
    ignore: tuple[str, ...] = ()


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that is expected."""

    name: str
    arguments: dict[str, Any] = {}


class ToolCalls:
    """1 where the answer calls just the tools that are expected, with the same arguments. An empty list expects that no
    tool is called."""

    def __init__(self, spec: JudgeSpec, options: Calls) -> None:
        self.version = version_of(spec, _REVISION)
        self._options = options

    async def score(self, item: Item, answer: Answer) -> Judgement:
        try:
            wanted = msgspec.convert(item.expected, list[Wanted])
        except msgspec.ValidationError as error:
            return missing(f"'expected' is no list of calls (name, arguments): {error}")
        broken = next((call for call in answer.tool_calls if call.arguments is None), None)
        if broken is not None:
            return wrong(f"the arguments of '{broken.name}' are no JSON object: '{_short(broken.malformed)}'")
        made = [self._plain(call) for call in answer.tool_calls]
        due = [self._plain(call) for call in wanted]
        held = sameness.same(made, due) if self._options.ordered else sameness.same_unordered(made, due)
        return right() if held else wrong(f"{_said(made)} instead of {_said(due)}")

    def _plain(self, call: ToolCall | Wanted) -> dict[str, Any]:
        arguments = {name: held for name, held in (call.arguments or {}).items() if name not in self._options.ignore}
        return {"name": call.name, "arguments": arguments}


class States(_Options, frozen=True, forbid_unknown_fields=True):
    """Of `end_state`. `environment` is `module:function` or `file.py:function`, which is loaded and called with the
    request and the calls (name, arguments) and gives the state they leave, as JSON. `part`: only the keys that are
    expected count."""

    environment: str
    part: bool = False


class EndState:
    """1 where the calls leave an environment as expected, whichever way they went."""

    def __init__(self, spec: JudgeSpec, options: States) -> None:
        self._environment, code = _environment(options.environment)
        # Other code may judge otherwise: what the file imports in turn is not looked at.
        whole = msgspec.structs.replace(spec, options={**spec.options, "code": code})
        self.version = version_of(whole, _REVISION)
        self._same = sameness.contains if options.part else sameness.same

    async def score(self, item: Item, answer: Answer) -> Judgement:
        calls = [msgspec.to_builtins(call) for call in answer.tool_calls]
        try:
            state = msgspec.to_builtins(self._environment(item.body, calls))
        except _RAISED as error:
            return missing(f"the environment failed: {type(error).__name__}: {_short(str(error))}")
        return right() if self._same(state, item.expected) else wrong(f"it ends as {_short(json.dumps(state))}")


def _environment(path: str) -> tuple[Environment, str]:
    """The function, and the SHA-256 of the file that it is in."""
    module, _, name = path.rpartition(":")
    try:
        loaded = _from_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
        found: Any = getattr(loaded, name)
        code = Path(loaded.__file__ or "").read_bytes()
    except (ImportError, AttributeError, ValueError, OSError, SyntaxError) as error:
        fix = "write module:function or file.py:function"
        raise ConfigError(f"there is no environment '{path}' ({error}): {fix}") from error
    if not callable(found):
        raise ConfigError(f"the environment '{path}' cannot be called: name a function")
    return found, hashlib.sha256(code).hexdigest()


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_KINDS: dict[str, tuple[type[msgspec.Struct], Callable[[JudgeSpec, Any], Judge]]] = {
    "exact": (Texts, Text),
    "normalised": (Texts, Text),
    "json_schema": (Schemas, Schema),
    "tool_calls": (Calls, ToolCalls),
    "end_state": (States, EndState),
    "embedding": (graded.Embeddings, graded.Embedding),
    "model_graded": (graded.Grades, graded.ModelGraded),
    "safety": (safety.Rules, safety.Safety),
}


def make(spec: JudgeSpec) -> Judge:
    """The judge of `spec`. ConfigError for an option it does not have; MissingExtra for one that needs a library."""
    options, kind = _KINDS[spec.kind]
    try:
        return kind(spec, msgspec.convert(spec.options, options))
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"the judge '{spec.kind}': {error}; see docs/evals.md for its options") from error


class Panel:
    """A suite's judges as one: each item goes to its own."""

    def __init__(self, suite: Suite) -> None:
        self._own = make(suite.judge)
        self._named = {name: make(spec) for name, spec in suite.judges.items()}
        others = [f"{name}={judge.version}" for name, judge in sorted(self._named.items())]
        self.version = " ".join([self._own.version, *others])

    async def score(self, item: Item, answer: Answer) -> Judgement:
        return await (self._named[item.judge] if item.judge else self._own).score(item, answer)


def _said(calls: list[dict[str, Any]]) -> str:
    return _short(", ".join(f"{call['name']}({json.dumps(call['arguments'])})" for call in calls)) or "no call"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:119] + "…"
