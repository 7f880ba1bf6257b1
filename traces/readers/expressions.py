"""JMESPath expressions of mapping files, with the functions that traces need beside its own."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import jmespath
from jmespath import exceptions, parser
from jmespath import functions as builtin

from tracetune.errors import TraceError
from tracetune.traces.readers.base import moment, shown

__all__ = ["Getter", "getter", "nearest", "outcome"]

Getter = Callable[[Any], Any]
"""Takes a record and returns what one part of a mapping finds in it; null is None."""

_ANY: Any = {"types": []}
_TEXT: Any = {"types": ["string", "null"]}
_OBJECT: Any = {"types": ["object", "null"]}


class _Functions(builtin.Functions):
    """JMESPath's functions and ours; ours give null for null."""

    @builtin.signature({"types": ["object", "array", "null"]})
    def _func_items(self, value: Any) -> Any:
        if value is None:
            return None
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [{"key": key, "value": worth} for key, worth in pairs]

    @builtin.signature(_OBJECT)
    def _func_zip(self, value: Any) -> Any:
        if value is None:
            return None
        columns = {name: column for name, column in value.items() if column is not None}
        for name, column in columns.items():
            if not isinstance(column, list):
                raise ValueError(f"zip() needs lists, but {name} is {shown(column)}")
        return [dict(zip(columns, row, strict=True)) for row in zip_longest(*columns.values())]

    @builtin.signature(_ANY)
    def _func_json(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"json() cannot read {shown(value)}: {error}") from None

    @builtin.signature(_OBJECT, _TEXT)
    def _func_get(self, value: Any, key: Any) -> Any:
        return None if value is None or key is None else value.get(key)

    @builtin.signature(_TEXT)
    def _func_lower(self, value: Any) -> Any:
        return None if value is None else value.lower()

    @builtin.signature(_TEXT, {"types": ["string"]})
    def _func_matches(self, value: Any, pattern: Any) -> Any:
        return None if value is None else _searched(pattern, value) is not None

    @builtin.signature(_TEXT, {"types": ["string"]})
    def _func_extract(self, value: Any, pattern: Any) -> Any:
        found = None if value is None else _searched(pattern, value)
        return None if found is None else found.group(1 if found.re.groups else 0)

    @builtin.signature(_ANY, _ANY)
    def _func_seconds(self, start: Any, end: Any) -> Any:
        began, ended = moment(start, "seconds()"), moment(end, "seconds()")
        return None if began is None or ended is None else (ended - began).total_seconds()


def _searched(pattern: str, value: str) -> Any:
    """The match or None. By RE2, which no text of a stranger's makes slow."""
    try:
        return _regex(pattern).search(value)
    except UnicodeEncodeError:
        return _regex(pattern).search(value.encode("utf-8", "replace").decode())


@functools.lru_cache(maxsize=256)
def _regex(pattern: str) -> Any:
    import re2  # type: ignore[import-untyped,unused-ignore]

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]
        raise ValueError(f"{shown(pattern)} is no regular expression of RE2: {reason}") from None


_OPTIONS = jmespath.Options(custom_functions=_Functions())


def getter(value: Any, where: str) -> Getter:
    """Return what finds a mapping's value in a record.

    Text is an expression, an object or a list holds values for its parts, and a number or a
    boolean stands for itself. What is found raises ValueError where a function cannot be applied.

    Raises:
        TraceError: An expression is wrong, or the value is of no such kind.
    """
    if isinstance(value, str):
        return _expression(value, where)
    if isinstance(value, bool | int | float):
        return lambda record: value
    if isinstance(value, Mapping):
        parts = {name: getter(part, f"{where}.{name}") for name, part in value.items()}
        return lambda record: {name: find(record) for name, find in parts.items()}
    if isinstance(value, list | tuple):
        items = [getter(item, f"{where}[{index}]") for index, item in enumerate(value, 1)]
        return lambda record: [find(record) for find in items]
    raise TraceError(f"{where} is {shown(value)}, expected a JMESPath expression")


def outcome(value: Any, where: str) -> Getter:
    """As `getter`, for what may be unknown: a comparison with what a record lacks gives null.

    To JMESPath a missing reward is just not equal to 1: a run that nobody judged would have
    failed. Text is compared with a number as the number that it spells.
    """
    find = getter(value, where)
    if not isinstance(value, str):
        return find
    tree: Any = jmespath.compile(value).parsed
    if tree["type"] != "comparator":
        return find
    sides = [_finder(parser.ParsedResult(value, side), where) for side in tree["children"]]
    if any(side["type"] == "literal" and side["value"] is None for side in tree["children"]):
        return find
    compare = jmespath.compile(f"left {_SIGNS[tree['value']]} right").search

    def compared(record: Any) -> Any:
        left, right = [find_side(record) for find_side in sides]
        if left is None or right is None:
            return None
        return compare({"left": _as(left, right), "right": _as(right, left)})

    return compared


_SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def _as(value: Any, other: Any) -> Any:
    """The value, as a number where it spells one and is compared with one."""
    if not isinstance(value, str) or isinstance(other, bool) or not isinstance(other, int | float):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def nearest(word: str, known: list[str]) -> str:
    """Return the hint for someone who wrote a name that is not there."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"there is {', '.join(known)}"


def _expression(text: str, where: str) -> Getter:
    try:
        compiled = jmespath.compile(text)
    except exceptions.ParseError as error:
        at = f"character {error.lex_position + 1} of " if error.lex_position is not None else ""
        raise TraceError(f"{where}: {at}{text!r:.200} is wrong: {_reason(error)}") from None
    except exceptions.JMESPathError:
        raise TraceError(f"{where} is empty, expected a JMESPath expression") from None
    for name, given in _calls(compiled.parsed):
        if problem := _misuse(name, given):
            raise TraceError(f"{where}: {text!r:.200} is wrong: {problem}")
    return _finder(compiled, where)


def _finder(compiled: parser.ParsedResult, where: str) -> Getter:
    def find(record: Any) -> Any:
        try:
            return compiled.search(record, options=_OPTIONS)
        except exceptions.JMESPathTypeError as error:
            got = f"{shown(error.current_value)}"
            took = " or ".join(map(str, error.expected_types))
            problem = f"{error.function_name}() got {got}, expected {took}"
            raise ValueError(f"{where}: {problem}") from None
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

    return find


def _reason(error: exceptions.ParseError) -> str:
    if isinstance(error, exceptions.IncompleteExpressionError):
        return "it ends too early"
    said = error.message if isinstance(error, exceptions.LexerError) else error.msg
    return f"{said[0].lower()}{said[1:].rstrip(':')}"


def _calls(node: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield the name of every function that a parsed expression calls, with its arguments."""
    if isinstance(node, dict):
        children = node.get("children", [])
        if node.get("type") == "function_expression":
            yield node["value"], children
        for child in children:
            yield from _calls(child)


def _misuse(name: str, given: Sequence[Any]) -> str | None:
    table: Mapping[str, Any] = _Functions.FUNCTION_TABLE
    if name not in table:
        return f"there is no function {name}() ({nearest(name, sorted(table))})"
    signature = table[name]["signature"]
    many = any(part.get("variadic") for part in signature)
    if len(given) != len(signature) and not (many and len(given) > len(signature)):
        return f"{name}() takes {'at least ' * many}{len(signature)}, but got {len(given)}"
    if name in ("extract", "matches") and isinstance(given[1].get("value"), str):
        try:
            _regex(given[1]["value"])
        except ValueError as error:
            return str(error)
    return None
