"""What a run of an agent has or lacks, and the runs that show it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["AgentRuns", "Examples", "Feature", "Task", "lowest"]

_EXAMPLES = 5

Task = tuple[str, str]
"""Agent and task."""
_Side = tuple[tuple[int, str], ...]
Examples = tuple[_Side, _Side]
"""(mark, id) of up to five runs with the lowest marks: the failed ones, the successful ones."""


@dataclass(frozen=True, slots=True)
class Feature:
    """Something a run has or lacks."""

    agent: str
    kind: str
    """A kind of pattern, or "attempts": making exactly `detail` tool calls (-1: unknown)."""
    tools: tuple[str, ...] = ()
    detail: str | None = None

    def key(self) -> tuple[Any, ...]:
        """What features are sorted by."""
        return self.agent, self.kind, self.tools, self.detail is not None, self.detail or ""


@dataclass(frozen=True, slots=True)
class AgentRuns:
    """How many runs of an agent there are."""

    total: int
    excused: int
    """Failures of the infrastructure or the user, which count nowhere else."""
    known: int
    """Runs whose outcome is known."""


def lowest(sides: Iterable[Examples]) -> Examples:
    """The lowest marks of them all, on either side."""
    failing: list[tuple[int, str]] = []
    succeeding: list[tuple[int, str]] = []
    for side in sides:
        failing.extend(side[0])
        succeeding.extend(side[1])
    return (
        tuple(heapq.nsmallest(_EXAMPLES, failing)),
        tuple(heapq.nsmallest(_EXAMPLES, succeeding)),
    )
