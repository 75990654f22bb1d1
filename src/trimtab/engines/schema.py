"""JSON Schemas: is one well formed, and the grammar that binds a model's output to it.

The engine can bind output to a JSON Schema by itself, but then allows white space without end between tokens, and a
weak model fills its answer with it. So the common part of JSON Schema is written here as a grammar for JSON on one
line; what lies outside that part is left to the engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trimtab.engines.protocol import Form
from trimtab.errors import RequestRefused

_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_DEPTH = 64
# Keywords whose value is a schema, a list of schemas, or a mapping of schemas.
_ONE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_LIST = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
# Keywords that only describe, or are honoured below. Any other one sends the schema to the engine.
_DESCRIBES = {
    "title",
    "description",
    "default",
    "examples",
    "example",
    "format",
    "deprecated",
    "$schema",
    "$id",
    "strict",
}
_HONOURED = {
    *("type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "minLength"),
    *("maxLength", "enum", "const", "anyOf", "oneOf", "$ref", "$defs", "definitions"),
}

_JSON = r"""
any ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" (pair (comma pair)*)? "}"
pair ::= string colon any
array ::= "[" (any (comma any)*)? "]"
string ::= "\"" char* "\""
char ::= [^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F])
integer ::= "-"? ("0" | [1-9] [0-9]{0,17})
number ::= integer ("." [0-9]{1,17})? ([eE] [+-]? [0-9]{1,3})?
comma ::= "," " "?
colon ::= ":" " "?
"""
ANY_OBJECT = "root ::= object" + _JSON


def check(schema: Any, where: str, *, top: str = "") -> None:
    """Refuse what is no JSON Schema; with `top`, also one whose own type is another. Errors: RequestRefused."""
    if not isinstance(schema, dict):
        raise RequestRefused(f"{where} must be a JSON Schema, which is an object", param=where, code="invalid_schema")
    if top and schema.get("type", top) != top:
        raise RequestRefused(f"{where}: its type must be '{top}'", param=where, code="invalid_schema")
    _check(schema, where, 0)


def form(schema: Mapping[str, Any]) -> Form:
    """What the worker binds output to: the grammar of one-line JSON where that can be written, else the schema."""
    writer = _Grammar(schema)
    try:
        root = writer.rule(schema)
    except _Outside:
        return Form(schema=json.dumps(schema, ensure_ascii=False))
    rules = "".join(f"{name} ::= {text}\n" for name, text in writer.rules.items())
    return Form(ebnf=f"root ::= {root}\n{rules}{_JSON}")


def _check(schema: Any, where: str, depth: int) -> None:
    if isinstance(schema, bool) and depth:
        return
    if not isinstance(schema, dict):
        raise _malformed(where, "must be an object")
    if depth > _DEPTH:
        raise _malformed(where, f"is nested more than {_DEPTH} deep")
    _check_values(schema, where)
    for name in _ONE:
        if name in schema:
            _check(schema[name], f"{where}.{name}", depth + 1)
    for name in set(_LIST) & set(schema):
        if not isinstance(schema[name], list) or not schema[name]:
            raise _malformed(f"{where}.{name}", "must be a list that is not empty")
        for at, inner in enumerate(schema[name]):
            _check(inner, f"{where}.{name}[{at}]", depth + 1)
    for name in set(_NAMED) & set(schema):
        if not isinstance(schema[name], dict):
            raise _malformed(f"{where}.{name}", "must be an object")
        for key, inner in schema[name].items():
            _check(inner, f"{where}.{name}.{key}", depth + 1)


def _check_values(schema: dict[str, Any], where: str) -> None:
    """The keywords that hold no further schema."""
    kind = schema.get("type")
    for name in kind if isinstance(kind, list) else [] if kind is None else [kind]:
        if name not in _TYPES:
            raise _malformed(f"{where}.type", f"must be one of {', '.join(_TYPES)}, not {json.dumps(name)}")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise _malformed(f"{where}.required", "must be a list of names")
    if not isinstance(schema.get("$ref", ""), str):
        raise _malformed(f"{where}.$ref", "must be a text such as '#/$defs/name'")
    if "enum" in schema and not (isinstance(schema["enum"], list) and schema["enum"]):
        raise _malformed(f"{where}.enum", "must be a list that is not empty")


def _malformed(where: str, what: str) -> RequestRefused:
    return RequestRefused(f"{where} {what}", param=where, code="invalid_schema")


class _Outside(Exception):
    """The schema asks for more than this grammar can say."""


class _Grammar:
    """Writes the rules of one schema."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.rules: dict[str, str] = {}
        self._root = root
        self._named: dict[str, str] = {}  # $ref to the rule that stands for it
        self._count = 0

    def rule(self, schema: Any) -> str:
        """The name of a rule for `schema`."""
        if schema is True or schema == {}:
            return "any"
        if not isinstance(schema, dict) or not set(schema) <= _HONOURED | _DESCRIBES:
            raise _Outside
        if "$ref" in schema:
            return self._ref(schema)
        text = self._text(schema)
        return text if text in ("any", "object", "array", "string", "integer", "number") else self._add(text)

    def _add(self, text: str) -> str:
        self._count += 1
        name = f"r{self._count}"
        self.rules[name] = text
        return name

    def _ref(self, schema: Mapping[str, Any]) -> str:
        target = schema["$ref"]
        if target in self._named:
            return self._named[target]
        found: Any = self._root
        parts = target.split("/") if isinstance(target, str) else [""]
        if parts[0] != "#":
            raise _Outside
        for part in parts[1:]:
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        self._count += 1
        name = self._named[target] = f"r{self._count}"  # known before its text, so that it may name itself
        self.rules[name] = self.rule(found)
        return name

    def _text(self, schema: Mapping[str, Any]) -> str:
        if "const" in schema:
            return _literal(schema["const"])
        if "enum" in schema:
            return " | ".join(_literal(value) for value in schema["enum"])
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return " | ".join(self.rule(choice) for choice in choices)
        kind = schema.get("type")
        if isinstance(kind, list):
            return " | ".join(self.rule({**schema, "type": one}) for one in kind)
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        if kind == "string" and ("minLength" in schema or "maxLength" in schema):
            return f'"\\"" char{_times(schema.get("minLength", 0), schema.get("maxLength"))} "\\""'
        simple = {"boolean": '"true" | "false"', "null": '"null"', None: "any"}
        return simple.get(kind) or str(kind)

    def _object(self, schema: Mapping[str, Any]) -> str:
        properties = schema.get("properties") or {}
        extra = schema.get("additionalProperties", True)
        required = set(schema.get("required", ()))
        if not required <= set(properties):
            raise _Outside
        if not properties:
            if extra is True:
                return "object"
            if extra is False:
                return '"{}"'
            pair = f"string colon {self.rule(extra)}"
            return f'"{{" ({pair} (comma {pair})*)? "}}"'
        pairs = [(name in required, f"{_literal(name)} colon {self.rule(inner)}") for name, inner in properties.items()]
        # Written from the last property back: `rest` follows a property that is there, `first` follows none.
        first = rest = ""
        for needed, pair in reversed(pairs):
            here, there = f"{pair} {rest}", f"comma {pair} {rest}"
            first = here if needed else f"({here} | {first})" if first else f"({here})?"
            rest = there if needed else f"({there} | {rest})" if rest else f"({there})?"
            first, rest = self._add(first), self._add(rest)
        return f'"{{" {first} "}}"'

    def _array(self, schema: Mapping[str, Any]) -> str:
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        item = self.rule(schema.get("items", True))
        more = _times(max(low - 1, 0), None if high is None else high - 1)
        if high == 0:
            return '"[]"'
        some = f"{item} (comma {item}){more}"
        return f'"[" {some} "]"' if low else f'"[" ({some})? "]"'


def _times(low: Any, high: Any) -> str:
    if not isinstance(low, int) or not (high is None or isinstance(high, int)) or low < 0:
        raise _Outside
    if high is None:
        return f"{{{low},}}" if low else "*"
    if high < low:
        raise _Outside
    return f"{{{low},{high}}}"


def _literal(value: Any) -> str:
    """A grammar literal for `value` written as JSON."""
    return json.dumps(json.dumps(value, ensure_ascii=False), ensure_ascii=False)
