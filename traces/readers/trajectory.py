"""Stratus trajectories: NDJSON of metadata, stages and events, each event all messages so far.

A stage is one agent's run, and its last event holds all of it. What an event says of
submission tells what ended the run; nothing in the file tells whether it was right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tracetune.traces.model import Step, ToolCall, Trace
from tracetune.traces.readers.base import (
    UNUSABLE,
    Context,
    Reader,
    as_list,
    as_mapping,
    content_hash,
    count,
    flag,
    moment,
    reason_of,
    text,
)
from tracetune.traces.readers.chat import read_chat
from tracetune.traces.readers.stratus import REFUSED

__all__ = ["TRAJECTORY"]

_TYPES = frozenset({"metadata", "stage_start", "event"})
_ATTEMPT = re.compile(r"(?P<agent>\w+?)_attempt_(?P<attempt>\d+)")


@dataclass(slots=True)  # not frozen: it is filled line by line
class _Stage:
    name: str
    began: datetime | None = None
    ended: datetime | None = None
    last: Mapping[str, Any] | None = None


@dataclass(slots=True)
class _File:
    """One trajectory."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    stages: list[_Stage] = field(default_factory=list)


def matches(record: Any) -> bool:
    """A line of a trajectory says what it is, and which stage or problem it is of."""
    if not isinstance(record, Mapping) or str(record.get("type")) not in _TYPES:
        return False
    return "stage" in record or {"problem_id", "total_stages"} <= record.keys()


def parts(record: Any) -> Iterator[tuple[str, Any]]:
    """Yield the line: only the file tells which of them belong together."""
    yield "lines", record


def read(record: Any, context: Context) -> Iterator[Trace]:
    """Yield one trace per stage, in order; stages that cannot be used are set aside."""
    for file in _files(as_list(record, "the lines"), context):
        problem = text(file.metadata.get("problem_id"), "problem_id")
        run = _run(file, context.path)
        for index, stage in enumerate(file.stages):
            again = sum(other.name == stage.name for other in file.stages[:index])
            try:
                yield _trace(stage, problem, run, f"#{again + 1}" if again else "", context)
            except UNUSABLE as error:
                context.set_aside(f"stage {stage.name}: {reason_of(error)}")


def _files(lines: list[Any], context: Context) -> Iterator[_File]:
    file = _File()
    for line in lines:
        try:
            row = as_mapping(line, "the line")
            if row.get("type") != "metadata":
                _add(file.stages, row)
                continue
        except UNUSABLE as error:
            context.set_aside(f"a line: {reason_of(error)}")
            continue
        if file.stages:
            yield file
        file = _File(metadata=row)
    if file.stages:
        yield file


def _add(stages: list[_Stage], row: Mapping[str, Any]) -> None:
    name = text(row.get("stage"), "stage")
    if not name:
        raise ValueError("stage is missing")
    at = moment(row.get("timestamp"), "timestamp")
    last = stages[-1] if stages else None
    if last is None or last.name != name or (last.last and row["type"] == "stage_start"):
        stages.append(_Stage(name))
    stage = stages[-1]
    stage.began, stage.ended = stage.began or at, at or stage.ended
    if row.get("type") == "event":
        stage.last = row


def _run(file: _File, path: Path | None) -> str:
    """Return what tells one run of a problem from the next."""
    if path is not None:
        return path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".ndjson")
    named = [text(file.metadata.get(name), name) for name in ("problem_id", "timestamp")]
    if all(named):
        return "_".join(filter(None, named))
    return content_hash([stage.last for stage in file.stages])


def _trace(stage: _Stage, problem: str | None, run: str, again: str, context: Context) -> Trace:
    if stage.last is None:
        raise ValueError("it holds no event")
    event = stage.last
    numbered = _ATTEMPT.fullmatch(stage.name)
    agent = numbered["agent"] if numbered else stage.name
    chat = read_chat(as_list(event.get("messages"), "messages"), agent=agent)
    for unread in chat.unread():
        context.set_aside(f"stage {stage.name}: {unread}")
    submitted = flag(event.get("submitted"), "submitted")
    took = (stage.ended - stage.began).total_seconds() if stage.began and stage.ended else 0.0
    labels = {
        "attempt": numbered["attempt"] if numbered else None,
        "ended_by": chat.ended_by or ("submit" if submitted else None),
        "run": run,
    }
    return Trace(
        id=f"{run}#{stage.name}{again}",
        agent=agent,
        release=chat.release,
        task=problem,
        started_at=stage.began,
        latency_s=took or None,
        steps=tuple(map(_judged, chat.steps)),
        turns=count(event.get("num_steps"), "num_steps"),
        tokens_in=chat.tokens_in,
        tokens_out=chat.tokens_out,
        labels={name: value for name, value in labels.items() if value is not None},
    )


def _judged(step: Step) -> Step:
    if not isinstance(step, ToolCall) or not REFUSED.match(step.result or ""):
        return step
    return ToolCall(step.name, step.arguments, error=step.result, agent=step.agent)


TRAJECTORY = Reader("trajectory", matches, read, parts)
