"""Pieces of a run while it goes on: its tool calls, and which messages were heard."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from langchain_core.messages import BaseMessage, ToolMessage

from tracetune.traces.model import ToolCall
from tracetune.traces.readers.base import json_text

__all__ = ["Heard", "LiveCall", "plain", "reason", "text_of", "tool_message"]


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
        return orjson.loads(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS))
    except (TypeError, ValueError):
        return {} if isinstance(value, Mapping) else str(value)


def reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
