"""Records of any shape, by a mapping: for each field of a trace the expression that finds it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracetune.errors import TraceError
from tracetune.traces.model import Trace
from tracetune.traces.readers.base import (
    UNUSABLE,
    Context,
    Reader,
    as_list,
    as_mapping,
    json_text,
    reason_of,
)
from tracetune.traces.readers.canonical import STEP_FIELDS, trace_of
from tracetune.traces.readers.expressions import Getter, getter, nearest, outcome
from tracetune.traces.readers.messages import MESSAGES

__all__ = ["Mapped", "load_mapping"]

Json = dict[str, Any]
Steps = Callable[[Any], Iterator[Json]]

_FIELDS = [field.name for field in dataclasses.fields(Trace) if field.name != "steps"]
_KEYS = ["records", *_FIELDS, "steps", "messages"]


class Mapped:
    """A mapping, ready to read records with."""

    def __init__(self, name: str, parts: Mapping[str, Any]) -> None:
        """Check the mapping and all its expressions.

        Args:
            name: What errors call it.

        Raises:
            TraceError: Something in it is wrong; the line names it, the key and the value.
        """
        for key in parts:
            if key not in _KEYS:
                raise TraceError(f"{name}: {key} is no field of a trace ({nearest(key, _KEYS)})")
        if "steps" in parts and "messages" in parts:
            raise TraceError(f"{name}: has steps and messages, expected one of them")
        self.name = name
        self.rows = 0
        """Records it was applied to."""
        self._found: set[str] = set()
        given = {key: value for key, value in parts.items() if key != "steps"}
        self._fields: dict[str, Getter] = {
            key: (outcome if key == "success" else getter)(value, f"{name}: {key}")
            for key, value in given.items()
        }
        self._records = self._fields.pop("records", None)
        self._steps = _steps(parts["steps"], f"{name}: steps") if "steps" in parts else None

    @property
    def reader(self) -> Reader:
        """It as a format, which every object and list is of."""
        return Reader("mapping", lambda record: isinstance(record, Mapping | list), self.read)

    def read(self, record: Any, context: Context) -> Iterator[Trace]:
        """Yield the record's trace, or one for each of the records that lie in it."""
        if self._records is None:
            yield from self._read(record, context)
            return
        found = self._records(record)
        if found is None:
            raise ValueError("records gave nothing, expected a list")
        for index, row in enumerate(as_list(found, "records"), 1):
            try:
                yield from self._read(row, context)
            except UNUSABLE as error:
                context.set_aside(f"records[{index}]: {reason_of(error)}")

    def silent(self) -> list[str]:
        """Return the fields that were null in every record: those that are misspelt are here."""
        found = [*self._fields, *([] if self._steps is None else ["steps"])]
        return [name for name in found if name not in self._found] if self.rows else []

    def _read(self, row: Any, context: Context) -> Iterator[Trace]:
        self.rows += 1
        values = {name: self._value(name, find, row) for name, find in self._fields.items()}
        if self._steps is not None:
            values["steps"] = list(self._steps(row))
        self._found |= {name for name, value in values.items() if value not in (None, [], {})}
        if values.setdefault("agent", "agent") is None:
            raise ValueError("agent gave nothing, expected text (a constant is written \"'name'\")")
        if "messages" not in values:
            yield trace_of(values, row, context.id_of)
            return
        if values.get("id") is None:
            values["id"] = context.id_of(row)
        yield from MESSAGES.read(values, context)

    def _value(self, name: str, find: Getter, row: Any) -> Any:
        try:
            value = find(row)
        except ValueError as error:
            raise ValueError(str(error).removeprefix(f"{self.name}: ")) from None
        if name == "labels" and isinstance(value, Mapping):
            return {label: worth for label, worth in value.items() if worth is not None}
        return value


def load_mapping(mapping: str | os.PathLike[str] | Mapping[str, Any]) -> Mapped:
    """Return a mapping from its YAML file, or from what would stand in one.

    Raises:
        TraceError: The file cannot be read, or something in it is wrong.
    """
    if isinstance(mapping, Mapping):
        return Mapped("mapping", mapping)
    import yaml

    path = Path(mapping).expanduser()
    try:
        parts = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise TraceError(f"{path}: cannot be read: {why}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or "it cannot be parsed"
        raise TraceError(
            f"{path}: is no YAML{where}: {why} (an expression with ` or ' at its start is quoted)"
        ) from None
    if not isinstance(parts, dict) or not all(isinstance(key, str) for key in parts):
        raise TraceError(f"{path}: holds {parts!r:.40}, expected fields with their expressions")
    return Mapped(str(path), parts)


@dataclass(frozen=True, slots=True)
class _Each:
    """Steps made once for each item of a list."""

    where: str
    items: Getter
    steps: Steps

    def __call__(self, row: Any) -> Iterator[Json]:
        for item in as_list(self.items(row), self.where):
            yield from self.steps(item)


@dataclass(frozen=True, slots=True)
class _Made:
    """One step, unless `when` says otherwise."""

    kind: str
    fields: Mapping[str, Getter]
    when: Getter | None

    def __call__(self, row: Any) -> Iterator[Json]:
        if self.when is None or _holds(self.when(row)):
            yield from _step({name: find(row) for name, find in self.fields.items()}, self.kind)


@dataclass(frozen=True, slots=True)
class _Listed:
    """Steps that one expression gives as they are."""

    where: str
    find: Getter

    def __call__(self, row: Any) -> Iterator[Json]:
        found = self.find(row)
        one = isinstance(found, Mapping)
        for index, step in enumerate([found] if one else as_list(found, self.where), 1):
            yield from _step(dict(as_mapping(step, f"{self.where}[{index}]")))


def _holds(value: Any) -> bool:
    """Whether JMESPath takes a value for true: 0 is."""
    return value is not False and value not in (None, "", [], {})


def _step(values: Json, kind: str | None = None) -> Iterator[Json]:
    """Yield the canonical row of a step; none where nothing was said, or no tool is named."""
    kind = kind or values.get("kind")
    row = {name: value for name, value in values.items() if value is not None} | {"kind": kind}
    needed = "name" if kind == "tool_call" else "text"
    if kind in STEP_FIELDS and row.get(needed) is None:
        return
    if needed == "text" and "text" in row:
        row["text"] = json_text(row["text"])
    # Many formats tell only whether a call failed: then its result is the error's text.
    match row.get("error"):
        case True:
            row["error"] = json_text(row.pop("result", None)) or "failed"
        case False:
            del row["error"]
        case error if error is not None and error == row.get("result"):
            del row["result"]
    yield row


def _steps(given: Any, where: str) -> Steps:
    """Return what makes the steps of a record.

    Raises:
        TraceError: A part of it is wrong.
    """
    if not isinstance(given, list):
        return _one(given, where)
    parts = [_one(part, f"{where}[{index}]") for index, part in enumerate(given, 1)]
    return lambda row: (step for part in parts for step in part(row))


def _one(given: Any, where: str) -> Steps:
    if isinstance(given, str):
        return _Listed(_short(where), getter(given, where))
    if not isinstance(given, Mapping):
        raise TraceError(f"{where} is {given!r:.40}, expected a step or an expression")
    if "each" in given:
        _known(given, ["each", "steps"], where)
        if "steps" not in given:
            raise TraceError(f"{where} has each, but no steps to make of it")
        items = getter(given["each"], f"{where}.each")
        return _Each(f"{_short(where)}.each", items, _steps(given["steps"], f"{where}.steps"))
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in STEP_FIELDS:
        raise TraceError(f"{where}.kind is {kind!r:.40}, expected {', '.join(STEP_FIELDS)}")
    _known(given, ["when", *sorted(STEP_FIELDS[kind])], where)
    fields = {
        name: getter(value, f"{where}.{name}")
        for name, value in given.items()
        if name not in ("kind", "when")
    }
    return _Made(kind, fields, getter(given["when"], f"{where}.when") if "when" in given else None)


def _short(where: str) -> str:
    """Return a place without the mapping's name, as a record's own errors call it."""
    return where.rpartition(": ")[2]


def _known(given: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise TraceError(f"{where}.{key} is no part of it ({nearest(str(key), known)})")
