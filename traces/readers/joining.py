"""Join tool calls with their results, in whatever order a record holds them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import datetime

from tracetune.traces.model import Step, ToolCall
from tracetune.traces.readers.blocks import Call, Result

__all__ = ["Joined", "Timing"]

# As LangGraph's tool node, MCP servers, τ-bench's tools and Python itself begin.
_SAID_FAILED = re.compile(
    r"\s*(?:Error: |Error (?:calling|executing|invoking|running) tool\b"
    r"|Traceback \(most recent call last\):)"
)


@dataclass(frozen=True, slots=True)
class Timing:
    """When a call ran."""

    began: datetime
    took_s: float


class Joined:
    """The steps of a run, built message by message."""

    def __init__(self) -> None:
        self._steps: list[Step | None] = []
        self._waiting: dict[int, str] = {}
        self._by_id: defaultdict[str, deque[int]] = defaultdict(deque)
        self._stray: dict[str, int] = {}
        self._answered: dict[str, int] = {}

    def add(self, step: Step) -> None:
        """Add a step that is no tool call."""
        self._steps.append(step)

    def call(self, call: Call, agent: str | None = None) -> None:
        """Add a call; its result may come later, or have come."""
        at = len(self._steps)
        self._waiting[at] = call.id
        self._by_id[call.id].append(at)
        self._steps.append(ToolCall(call.name, call.arguments, error=call.fault, agent=agent))

    def answer(self, result: Result, timing: Timing | None = None) -> None:
        """Join a result with the call it names; one without an id answers the next in order."""
        at = self._asked(result)
        if at is None:
            if self._is_told(result):
                return
            # Its call comes later or was cut; that the tool was used is still known.
            if result.id:
                self._stray[result.id] = len(self._steps)
            self._steps.append(_done(ToolCall(result.name or "unknown"), result, timing))
            return
        del self._waiting[at]
        call = self._steps[at]
        assert isinstance(call, ToolCall)
        self._steps[at] = _done(call, result, timing)
        if result.id:
            self._answered[result.id] = at

    def steps(self) -> tuple[Step, ...]:
        """Return the steps; calls that were never answered have no result."""
        for at, id in self._waiting.items():
            if (early := self._stray.pop(id, None)) is not None and id:
                call, done = self._steps[at], self._steps[early]
                assert isinstance(call, ToolCall)
                assert isinstance(done, ToolCall)
                error = done.error or call.error
                self._steps[at] = dataclasses.replace(
                    done, name=call.name, arguments=call.arguments, error=error, agent=call.agent
                )
                self._steps[early] = None
        return tuple(step for step in self._steps if step is not None)

    def _asked(self, result: Result) -> int | None:
        """Return where the call stands that a result answers."""
        for id in dict.fromkeys((result.id, "")):
            if result.id and (line := self._by_id.get(id)):
                return line.popleft()
        if result.id:
            return None
        named = (at for at in self._waiting if self._is_called(at, result.name))
        at = next(named, next(iter(self._waiting), None))
        if at is not None:
            self._by_id[self._waiting[at]].remove(at)
        return at

    def _is_told(self, result: Result) -> bool:
        """Whether a call was given this very answer before: logs repeat messages."""
        at = self._answered.get(result.id)
        call = None if at is None else self._steps[at]
        return isinstance(call, ToolCall) and result.text in (call.result, call.error)

    def _is_called(self, at: int, name: str | None) -> bool:
        call = self._steps[at]
        return isinstance(call, ToolCall) and call.name == name


def _done(call: ToolCall, result: Result, timing: Timing | None) -> ToolCall:
    failed = _said_failed(result.text) if result.failed is None else result.failed
    return ToolCall(
        name=call.name,
        arguments=call.arguments,
        result=None if failed else result.text,
        error=(result.text or "error") if failed else call.error,
        started_at=timing.began if timing else None,
        latency_s=timing.took_s if timing else None,
        agent=call.agent,
    )


def _said_failed(said: str) -> bool:
    if _SAID_FAILED.match(said):
        return True
    if not said.startswith('{"error"'):
        return False
    try:
        told = json.loads(said)
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and len(told) == 1 and bool(told["error"])
