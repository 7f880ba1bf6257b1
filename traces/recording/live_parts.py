"""Pieces of a run while it goes on: what was heard of it, and how it reads as text."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

import orjson
from langchain_core.messages import BaseMessage, ToolMessage, convert_to_messages
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from tracetune.errors import InputError
from tracetune.traces.model import Message, Step, Thought, Trace, plain_number
from tracetune.traces.readers.base import json_text, reason_of
from tracetune.traces.readers.blocks import blocks_of
from tracetune.traces.readers.canonical import fields_of
from tracetune.traces.recording.live_calls import LiveCall

__all__ = [
    "Heard",
    "Outcome",
    "Stamps",
    "chat_in",
    "end_of",
    "labels_of",
    "plain",
    "reason",
    "spoken_in",
    "steps_told",
    "text_of",
    "tool_message",
]

_JSON = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_AGENT, _RELEASE = "tracetune_agent", "tracetune_release"  # as TunedPrompt stamps them
_OURS = ("langgraph_", "ls_", "lc_", "checkpoint_", "tracetune_", "__")
_KEPT_ELSEWHERE = ("task", "thread_id")


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
        return dataclasses.replace(trace, **self._known())

    def after(self, earlier: Outcome) -> Outcome:
        """Return what is known of both; where both know, this goes first."""
        return dataclasses.replace(earlier, **self._known())

    def _known(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(slots=True)
class Heard:
    """Which messages are in the trace already, by id or, where they have none, by text."""

    ids: set[str] = field(default_factory=set)
    texts: Counter[tuple[str, str | None, str]] = field(default_factory=Counter)
    """How often: a user may say yes twice."""
    at_once: Counter[tuple[str, str | None, str]] = field(default_factory=Counter)
    """How often in what a model is given now."""
    unnamed: list[str] = field(default_factory=list)
    """Texts of the input that got no id yet: a graph gives them one on their way."""

    def is_new(self, message: BaseMessage, agent: str | None, text: str) -> bool:
        if message.id is None:
            key = (message.type, agent, text)
            self.at_once[key] += 1
            new = self.at_once[key] > max(self.texts[key], self.unnamed.count(text))
            self.texts[key] = max(self.texts[key], self.at_once[key])
            return new
        new = message.id not in self.ids
        self.ids.add(message.id)
        if new and text in self.unnamed:
            self.unnamed.remove(text)
            return False
        return new


@dataclass(slots=True)
class Stamps:
    """The releases that a run and its calls of models are stamped with, and whose they are."""

    found: list[tuple[str | None, str]] = field(default_factory=list)
    by_prompt: bool = False
    """Whether a `TunedPrompt` stamped, and not only the config of the run."""

    def has(self, metadata: Mapping[str, Any]) -> bool:
        """Whether there is no other stamp on it than those that were found."""
        return _RELEASE not in metadata or _stamp(metadata) in self.found

    def agent_on(self, metadata: Mapping[str, Any]) -> str | None:
        """Return the agent that a `TunedPrompt` stamped on a call."""
        return metadata.get(_AGENT) if self.by_prompt else None

    def take(self, metadata: Mapping[str, Any], *, by_prompt: bool = False) -> bool:
        """Take the stamp, and return whether there is one."""
        if not metadata.get(_RELEASE):
            return False
        self.by_prompt |= by_prompt
        if not self.has(metadata):
            self.found.append(_stamp(metadata))
        return True

    def release(self, agent: str) -> str | None:
        """Return the release all of the agent's steps were under; None where there were several."""
        own = {release for name, release in self.found if name in (agent, None)}
        releases = own or {release for _, release in self.found}
        return releases.pop() if len(releases) == 1 else None


def _stamp(metadata: Mapping[str, Any]) -> tuple[str | None, str]:
    return metadata.get(_AGENT), str(metadata[_RELEASE])


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
    if isinstance(output, list):  # of Commands and messages
        found = [tool_message(one, id) for one in output]
        return next((m for m in found if m is not None and m.tool_call_id == id), None)
    update = getattr(output, "update", None)  # a Command, which a tool may give back
    said = update.get("messages") if isinstance(update, Mapping) else None
    messages: Sequence[Any] = said if isinstance(said, list | tuple) else [said]
    answers = [m for m in messages if isinstance(m, ToolMessage) and m.tool_call_id == id]
    return answers[0] if answers else None


def text_of(output: Any) -> str:
    return output if isinstance(output, str) else json_text(plain(output)) or ""


def plain(value: Any) -> Any:
    """Return the value as JSON has it; what JSON cannot hold as text."""
    try:
        return orjson.loads(orjson.dumps(value, default=str, option=_JSON))
    except (TypeError, ValueError):  # half a character, say, or a number of more than 64 bits
        pass
    try:
        return json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)
    except (TypeError, ValueError, RecursionError):
        return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else str(value)


def chat_in(inputs: Any) -> list[BaseMessage]:
    """Return the messages of a run's input."""
    said = inputs.get("messages") if isinstance(inputs, Mapping) else inputs
    if not said or not isinstance(said, list | tuple | str | BaseMessage):
        return []
    try:
        return convert_to_messages(said if isinstance(said, list) else [said])
    except Exception:  # any runnable has inputs, and they need not be a chat
        return []


def end_of(error: BaseException) -> dict[str, str]:
    """Return the labels of a run that the error ended."""
    if isinstance(error, GraphBubbleUp):  # the graph around it asks a person, or goes on elsewhere
        return {"ended_by": "interrupt"} if isinstance(error, GraphInterrupt) else {}
    name = type(error).__name__
    if name in ("CancelledError", "GeneratorExit", "KeyboardInterrupt"):
        return {"ended_by": "cancelled"}
    ended_by = "recursion_limit" if "Recursion" in name else "error"
    return {"ended_by": ended_by, "error": f"{name}: {reason(error)}"}


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
        name: str(value)
        for name, found in metadata.items()
        if isinstance(value := plain_number(found), str | int | float | date | UUID)
        and not name.startswith(_OURS)
        and name not in _KEPT_ELSEWHERE
    }
    thread = metadata.get("thread_id")
    return labels if thread is None else {**labels, "thread": str(thread)}
