"""The canonical JSON form of a trace, checked field by field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast, get_args

from tracetune.traces.model import (
    MAX_LATENCY_S,
    FailureKind,
    Message,
    Step,
    Thought,
    ToolCall,
    Trace,
)
from tracetune.traces.readers.base import (
    Context,
    Reader,
    arguments_of,
    as_list,
    as_mapping,
    content_hash,
    count,
    dollars_in,
    flag,
    is_gemini,
    json_text,
    moment,
    number,
    seconds_in,
    shown,
    text,
)

__all__ = ["CANONICAL", "STEP_FIELDS", "fields_of", "trace_of"]

_FIELDS = {field.name for field in dataclasses.fields(Trace)}

STEP_FIELDS: Mapping[str, frozenset[str]] = {
    kind: frozenset({field.name for field in dataclasses.fields(cls)} | {"kind"})
    for kind, cls in {"message": Message, "thought": Thought, "tool_call": ToolCall}.items()
}
"""What a step of each kind may hold."""


def matches(record: Any) -> bool:
    """A canonical trace names its agent, and has an id or nothing but canonical keys."""
    if not isinstance(record, Mapping) or "agent" not in record or "messages" in record:
        return False
    if is_gemini(record):
        return False
    return "id" in record or (len(record) > 1 and record.keys() <= _FIELDS)


def read(record: Any, context: Context) -> Iterator[Trace]:
    """Yield the one trace."""
    yield trace_of(as_mapping(record, "the record"), name=context.id_of)


def trace_of(
    row: Mapping[str, Any], source: Any = None, name: Callable[[Any], str] = content_hash
) -> Trace:
    """Return the trace of a canonical row.

    Args:
        source: What the row was made of, if it is not a record itself.
        name: Gives the id of one that has none, from its content.

    Raises:
        LookupError, TypeError, ValueError: The row is no canonical trace; the line names the field.
    """
    _only(row, _FIELDS, "")
    if row.get("agent") is None:
        raise KeyError("agent")
    values = fields_of(row)
    values["id"] = _filled(row.get("id"), "id") or name(_content(row, source))
    values["agent"] = _filled(row["agent"], "agent")
    steps = enumerate(as_list(row.get("steps"), "steps"), 1)
    return Trace(**values, steps=tuple(_plain(step) or _step(step, index) for index, step in steps))


def fields_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all fields save id, agent and steps; None for those that are not there.

    Raises:
        TypeError, ValueError: A value does not fit its field; the line names the field.
    """
    found = {
        name: read_as(row[name], name) if name in row else _ABSENT[name]
        for name, read_as in _READ_AS.items()
    }
    found["labels"] = found["labels"] or {}  # each its own
    return found


def _content(row: Mapping[str, Any], source: Any) -> Any:
    """Return what the id of a row without one follows from."""
    if source is not None:
        return source
    if all(value is None for name, value in row.items() if name != "agent"):
        raise KeyError("id")  # nothing is known of it at all
    return row


def _filled(value: Any, name: str) -> str | None:
    found = text(value, name)
    if found == "":
        raise ValueError(f"{name} is empty")
    return found


def _only(row: Mapping[str, Any], known: frozenset[str] | set[str], where: str) -> None:
    if unknown := row.keys() - known:
        raise ValueError(f"{where}{min(unknown)} is no key of a canonical trace")


def _feedback(value: Any, name: str) -> str | Mapping[str, Any] | None:
    if value is None or isinstance(value, str | Mapping):
        return value
    raise TypeError(f"{name} is {shown(value)}, expected text or an object")


def _failure_kind(value: Any, name: str) -> FailureKind:
    return cast(FailureKind, _one_of(value, name, get_args(FailureKind), "unknown"))


def _labels(value: Any, name: str) -> dict[str, str]:
    labels = as_mapping(value, name)
    for label, worth in labels.items():
        if isinstance(worth, Mapping | list | tuple):
            raise TypeError(f"{name}.{label} is {shown(worth)}, expected text")
    return {label: json_text(worth) or "" for label, worth in labels.items() if worth is not None}


_READ_AS = {
    "release": text,
    "task": text,
    "started_at": moment,
    "latency_s": seconds_in,
    "success": flag,
    "score": number,
    "feedback": _feedback,
    "attempts": count,
    "turns": count,
    "tokens_in": count,
    "tokens_out": count,
    "cost_usd": dollars_in,
    "failure_kind": _failure_kind,
    "labels": _labels,
}


def _one_of(value: Any, name: str, known: tuple[str, ...], default: str | None = None) -> str:
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} is {shown(value)}, expected one of {', '.join(known)}")
    return value


_ABSENT = {name: read_as(None, name) for name, read_as in _READ_AS.items()}
_TEXT = (str, type(None))


def _plain(row: Any) -> Step | None:
    """The step whose values all are as they are written by `to_dict`: nearly all, and quick."""
    if type(row) is not dict or type(kind := row.get("kind")) is not str:
        return None
    get, known = row.get, STEP_FIELDS.get(kind)
    agent, latency = get("agent"), get("latency_s")
    if known is None or not row.keys() <= known or type(agent) not in _TEXT:
        return None
    if kind == "tool_call":
        name, arguments = get("name"), get("arguments", {})
        result, error, by = get("result"), get("error"), get("by", "agent")
        return (
            ToolCall(name, arguments, result, error, None, latency, by, agent)
            if type(name) is str
            and name
            and type(arguments) is dict
            and type(result) in _TEXT
            and type(error) in _TEXT
            and get("started_at") is None
            and (latency is None or (type(latency) is float and 0 <= latency <= MAX_LATENCY_S))
            and by in ("agent", "user")
            else None
        )
    said, role = get("text"), get("role")
    if type(said) is not str:
        return None
    if kind == "thought":
        return Thought(said, agent)
    return Message(role, said, agent) if role in ("system", "user", "assistant") else None


def _step(value: Any, index: int) -> Step:
    where = f"steps[{index}]"
    row = as_mapping(value, where)
    told = row["kind"] if "kind" in row else _likely(row)
    kind = _one_of(told, f"{where}.kind", tuple(STEP_FIELDS))
    _only(row, STEP_FIELDS[kind], f"{where}.")
    agent = text(row.get("agent"), f"{where}.agent")
    if kind == "tool_call":
        return _call(row, where, agent)
    said = text(row.get("text"), f"{where}.text")
    if said is None:
        raise KeyError(f"{where}.text")
    if kind == "thought":
        return Thought(said, agent)
    role = _one_of(row.get("role"), f"{where}.role", ("system", "user", "assistant"))
    return Message(cast(Any, role), said, agent)


def _likely(row: Mapping[str, Any]) -> str | None:
    """Return the kind of a step that lacks nothing else, as `dataclasses.asdict` writes it."""
    return next((kind for kind, known in STEP_FIELDS.items() if {*row, "kind"} == known), None)


def _call(row: Mapping[str, Any], where: str, agent: str | None) -> ToolCall:
    if not (name := _filled(row.get("name"), f"{where}.name")):
        raise KeyError(f"{where}.name")
    by = _one_of(row.get("by"), f"{where}.by", ("agent", "user"), "agent")
    return ToolCall(
        name=name,
        arguments=arguments_of(row.get("arguments")),
        result=json_text(row.get("result")),
        error=json_text(row.get("error")),
        started_at=moment(row.get("started_at"), f"{where}.started_at"),
        latency_s=seconds_in(row.get("latency_s"), f"{where}.latency_s"),
        by=cast(Any, by),
        agent=agent,
    )


CANONICAL = Reader("canonical", matches, read)
