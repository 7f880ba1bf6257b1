"""A run as counting sees it: what the flat tables hold of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from tracetune.traces.analytics.sample import mark_of
from tracetune.traces.analytics.tables import STEP_LIMITS
from tracetune.traces.failures import EXCUSED, failure_kind_of
from tracetune.traces.model import ToolCall, Trace

__all__ = ["Call", "Run", "calls_of"]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool by the agent."""

    name: str
    error: str | None
    first_use: bool
    """Whether the run called this tool for the first time."""
    earlier: int
    """How often the run had made the same call, with the same arguments, before."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run, its calls, and what follows from them. As sql/flatten.sql and sql/flat_calls.sql."""

    trace: Trace
    """Whole; its kind of failure is what `failure_kind_of` says."""
    mark: int
    """Its random number, from its agent and id."""
    calls: tuple[Call, ...]

    @classmethod
    def of(cls, trace: Trace) -> Run:
        """The run of a trace that was read from its JSON."""
        kind = failure_kind_of(trace)
        if kind != trace.failure_kind:
            trace = replace(trace, failure_kind=kind)
        return cls(trace, mark_of(trace.agent, trace.id), tuple(calls_of(trace)))

    @property
    def counted(self) -> bool:
        """Whether it was the agent's run, rather than a failure of the infrastructure."""
        return self.trace.failure_kind != "infrastructure"

    @property
    def own(self) -> bool:
        """Whether how it ended is the agent's own doing."""
        return self.trace.failure_kind not in EXCUSED

    @property
    def at_limit(self) -> bool | None:
        """Whether a step limit ended it; None where nothing says what did."""
        ended_by = self.trace.labels.get("ended_by")
        return None if ended_by is None else ended_by in STEP_LIMITS


def calls_of(trace: Trace) -> list[Call]:
    """The agent's calls in their order; the trace was read from its JSON."""
    used: set[str] = set()
    made: dict[tuple[str, bytes], int] = {}
    calls: list[Call] = []
    for call in trace.agent_calls():
        same = call.name, _text(call, len(calls))
        earlier = made[same] = made.get(same, -1) + 1
        calls.append(Call(call.name, call.error, call.name not in used, earlier))
        used.add(call.name)
    return calls


def _text(call: ToolCall, at: int) -> bytes:
    """The arguments as they are written: a model that calls again in vain writes them again.

    Where tracers record no content, no call is known to be the same as another.
    """
    arguments: Mapping[str, Any] = call.arguments
    if not arguments and call.result is None and call.error is None:
        return b"%d" % at
    return orjson.dumps(arguments) if arguments else b"{}"
