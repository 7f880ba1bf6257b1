"""The tool calls of a run while it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tracetune.traces.model import ToolCall

__all__ = ["LiveCall", "LiveCalls"]


@dataclass(slots=True)
class LiveCall:
    """A tool call that may still be going on."""

    id: str
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

    def waits(self) -> bool:
        return self.began is None and not self.done()

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
class LiveCalls:
    """Calls by the ids that models gave them, which some models count anew in every reply."""

    _by_id: dict[str, list[LiveCall]] = field(default_factory=dict)

    def __contains__(self, id: object) -> bool:
        return id in self._by_id

    def add(self, id: str | None, name: str, arguments: Any, agent: str | None) -> LiveCall:
        call = LiveCall(id or f"call {len(self._by_id)}", name, arguments, agent)
        self._by_id.setdefault(call.id, []).append(call)
        return call

    def beginning(self, id: str, name: str, arguments: Any) -> LiveCall | None:
        """Return the call that a tool begins, or begins anew."""
        found = self._by_id.get(id, [])
        waiting = [call for call in found if call.waits()]
        named = [call for call in waiting if call.name == name]
        meant = [call for call in named if call.arguments == arguments]
        again = [call for call in found if call.name == name]
        return next((some[-1] for some in (meant, named, waiting, again, found) if some), None)

    def answered_by(self, id: str, text: str, agent: str | None) -> LiveCall | None:
        """Return the call that a message answers which `agent` is told; None if one did before."""
        found = self._by_id.get(id, [])
        waiting = [call for call in found if call.waits()]
        own = [call for call in waiting if call.agent == agent]
        if not own and any(text in (call.result, call.error) for call in found):
            return None
        going = [call for call in found if not call.done()]
        return next((some[-1] for some in (own, waiting, going) if some), None)
