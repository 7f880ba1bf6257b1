"""The canonical JSON form of a trace, checked field by field."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from tracetune.traces.model import FailureKind, Message, Step, Thought, ToolCall, Trace
from tracetune.traces.readers.base import Context, Reader, as_list, as_mapping, count, flag, number

__all__ = ["CANONICAL"]

_FIELDS = {field.name for field in dataclasses.fields(Trace)}
_STEP_FIELDS = {
    kind: {field.name for field in dataclasses.fields(cls)} | {"kind"}
    for kind, cls in {"message": Message, "thought": Thought, "tool_call": ToolCall}.items()
}


def matches(record: Any) -> bool:
    """A canonical trace names itself and its agent, and holds no list of chat messages."""
    return (
        isinstance(record, Mapping)
        and {"id", "agent"} <= record.keys()
        and "messages" not in record
    )


def read(record: Any, context: Context) -> Iterator[Trace]:
    """Yield the one trace."""
    row = as_mapping(record, "the record")
    if missing := {"id", "agent"} - row.keys():
        raise ValueError(f"the key {min(missing)!r} is missing")
    _only(row, _FIELDS, "")
    for index, step in enumerate(as_list(row.get("steps"), "steps"), 1):
        kind = as_mapping(step, f"steps[{index}]").get("kind")
        if not isinstance(kind, str) or kind not in _STEP_FIELDS:
            raise ValueError(f"steps[{index}].kind is {kind!r}, expected one of {[*_STEP_FIELDS]}")
        _only(step, _STEP_FIELDS[kind], f"steps[{index}].")
    known = _without_nulls(row)
    trace = Trace.from_dict(known | {"steps": [_without_nulls(s) for s in known.get("steps", ())]})
    _check(trace)
    yield trace


def _without_nulls(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None}


def _only(row: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := row.keys() - known:
        raise ValueError(f"{where}{min(unknown)} is no key of a canonical trace")


def _check(trace: Trace) -> None:
    # A dataclass takes whatever it is given; the SQL and the tests behind it do not.
    for name in ("id", "agent"):
        _text(getattr(trace, name), name, needed=True)
    for name in ("release", "task"):
        _text(getattr(trace, name), name)
    for name in ("latency_s", "cost_usd"):
        number(getattr(trace, name), name, least=0)
    for name in ("attempts", "turns", "tokens_in", "tokens_out"):
        count(getattr(trace, name), name)
    number(trace.score, "score")
    flag(trace.success, "success")
    if not isinstance(trace.feedback, str):
        as_mapping(trace.feedback, "feedback")
    if trace.failure_kind not in get_args(FailureKind):
        known = ", ".join(get_args(FailureKind))
        raise ValueError(f"failure_kind is {trace.failure_kind!r}, expected one of {known}")
    for name, value in as_mapping(trace.labels, "labels").items():
        _text(value, f"labels.{name}", needed=True)
    for index, step in enumerate(trace.steps, 1):
        _check_step(step, f"steps[{index}]")


def _check_step(step: Step, where: str) -> None:
    match step:
        case Thought(said):
            _text(said, f"{where}.text", needed=True)
        case Message(role, said):
            if role not in ("system", "user", "assistant"):
                raise ValueError(f"{where}.role is {role!r}, expected system, user or assistant")
            _text(said, f"{where}.text", needed=True)
        case ToolCall():
            _text(step.name, f"{where}.name", needed=True)
            as_mapping(step.arguments, f"{where}.arguments")
            _text(step.result, f"{where}.result")
            _text(step.error, f"{where}.error")
            number(step.latency_s, f"{where}.latency_s", least=0)
            if step.by not in ("agent", "user"):
                raise ValueError(f"{where}.by is {step.by!r}, expected agent or user")


def _text(value: Any, name: str, *, needed: bool = False) -> None:
    if not isinstance(value, str) and (needed or value is not None):
        raise TypeError(f"{name} is {value!r}, expected text")


CANONICAL = Reader("canonical", matches, read)
