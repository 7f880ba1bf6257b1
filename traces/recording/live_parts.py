"""Pieces of a run while it goes on: its tool calls, and which messages were heard."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from langchain_core.messages import BaseMessage, ToolMessage

from tracetune.errors import InputError
from tracetune.traces.model import Message, Step, Thought, ToolCall, Trace
from tracetune.traces.readers.base import json_text, reason_of
from tracetune.traces.readers.blocks import blocks_of
from tracetune.traces.readers.canonical import fields_of

__all__ = [
    "LONGEST_LABEL",
    "Heard",
    "LiveCall",
    "Outcome",
    "labels_of",
    "plain",
    "reason",
    "spoken_in",
    "steps_told",
    "text_of",
    "tool_message",
]

LONGEST_LABEL = 300
"""Characters of a label."""

_JSON = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_OURS = ("langgraph_", "ls_", "lc_", "checkpoint_", "tracetune_", "__", "task", "thread_id")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became known of a run's success beside what it did; None is unknown still."""

    success: bool | None = None
    score: float | None = None
    feedback: str | Mapping[str, Any] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Outcome:
        """Return what a user says, read as in a trace's canonical form.

        Raises:
            InputError: A value is of another type: with it nobody could read the trace.
        """
        try:
            known = fields_of(given)
        except (TypeError, ValueError) as error:
            raise InputError(reason_of(error)) from None
        return cls(known["success"], known["score"], known["feedback"])

    def on(self, trace: Trace) -> Trace:
        """Return the trace with what is known."""
        known = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return dataclasses.replace(trace, **{k: v for k, v in known.items() if v is not None})


@dataclass(slots=True)
class LiveCall:
    """A tool call that may still be going on."""

    name: str
    arguments: Mapping[str, Any]
    agent: str | None
    result: str | None = None
    error: str | None = None
    started_at: datetime | None = None
    began: float | None = None
    latency_s: float | None = None

    def done(self) -> bool:
        return self.result is not None or self.error is not None

    def end(self, result: str | None, error: str | None) -> None:
        self.result, self.error = result, error
        if self.began is not None:
            self.latency_s = time.perf_counter() - self.began
            self.began = None

    def step(self) -> ToolCall:
        return ToolCall(
            self.name,
            self.arguments,
            self.result,
            self.error,
            self.started_at,
            self.latency_s,
            agent=self.agent,
        )


@dataclass(slots=True)
class Heard:
    """Which messages are in the trace already, by id or, where they have none, by text."""

    ids: set[str] = field(default_factory=set)
    texts: set[tuple[str, str | None, str]] = field(default_factory=set)
    unnamed: list[str] = field(default_factory=list)
    """Texts of the input that got no id yet: a graph gives them one on their way."""

    def is_new(self, message: BaseMessage, agent: str | None, text: str) -> bool:
        if message.id is None:
            key = (message.type, agent, text)
            new = key not in self.texts and text not in self.unnamed
            self.texts.add(key)
            return new
        new = message.id not in self.ids
        self.ids.add(message.id)
        if new and text in self.unnamed:
            self.unnamed.remove(text)
            return False
        return new


def spoken_in(message: BaseMessage) -> tuple[list[str], str]:
    """Return a reply's thoughts and its text."""
    said = message.content
    thought = message.additional_kwargs.get("reasoning_content")
    if isinstance(said, str) and thought is None:
        return [], said
    parts = blocks_of([said] if isinstance(said, str) else said, "message")
    first = [thought] if isinstance(thought, str) else []
    return [*first, *parts.thoughts], "".join(parts.texts)


def tool_message(output: Any, id: str) -> ToolMessage | None:
    if isinstance(output, ToolMessage):
        return output
    update = getattr(output, "update", None)  # a Command, which a tool may give back
    messages: Iterable[Any] = update.get("messages", ()) if isinstance(update, Mapping) else ()
    found = [m for m in messages if isinstance(m, ToolMessage) and m.tool_call_id == id]
    return found[0] if found else None


def text_of(output: Any) -> str:
    return output if isinstance(output, str) else json_text(plain(output)) or ""


def plain(value: Any) -> Any:
    """Return the value as JSON has it; what JSON cannot hold as text."""
    try:
        return orjson.loads(orjson.dumps(value, default=str, option=_JSON))
    except (TypeError, ValueError):
        return {} if isinstance(value, Mapping) else str(value)


def reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def steps_told(told: Iterable[Message | Thought | LiveCall]) -> tuple[Step, ...]:
    """Return the steps; where one agent did all, it is the run's own, and not named."""
    steps = [step.step() if isinstance(step, LiveCall) else step for step in told]
    acts = [s for s in steps if not isinstance(s, Message) or s.role == "assistant"]
    alone = len({step.agent for step in acts}) <= 1
    return tuple(dataclasses.replace(s, agent=None) if alone and s.agent else s for s in steps)


def labels_of(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return what a run's metadata holds that is worth grouping by."""
    labels = {
        name: str(value)[:LONGEST_LABEL]
        for name, value in metadata.items()
        if isinstance(value, str | int | float) and not name.startswith(_OURS)
    }
    thread = metadata.get("thread_id")
    return labels if thread is None else {**labels, "thread": str(thread)}
