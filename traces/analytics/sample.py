"""A bounded sample of whole runs, the same whatever the order they come in."""

from __future__ import annotations

import functools
import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tracetune.traces.model import Trace

__all__ = [
    "COMMENTED",
    "KEPT",
    "KEPT_BYTES",
    "KeptRun",
    "Sample",
    "bounds",
    "has_feedback",
    "mark_of",
]

KEPT = 2000
"""How many runs of each agent and outcome are kept whole, at most."""

KEPT_BYTES = 64 << 20
"""How many bytes of them, as lines of JSON; a run of more than an eighth of it is never kept."""

COMMENTED = 500
"""How many runs with feedback, which is rare, of each agent and outcome are kept besides, at most;
and of a quarter of the bytes."""

Outcome = bool | None
_md5 = functools.partial(hashlib.md5, usedforsecurity=False)


def mark_of(agent: str, id: str) -> int:
    """40 bits of a run's identity, evenly spread: lower marks are kept first. As in flatten.sql."""
    name = f"{agent}\0{id}".encode("utf-8", "replace")
    return int.from_bytes(_md5(name).digest()[11:], "little")


def has_feedback(trace: Trace) -> bool:
    """Whether someone said something of the run. As in flatten.sql."""
    return bool(trace.feedback)


def bounds(*, commented: bool) -> tuple[int, int]:
    """How many runs of an agent and outcome are kept at most, of all or of those with feedback.

    Returns:
        Runs and bytes.
    """
    return (COMMENTED, KEPT_BYTES // 4) if commented else (KEPT, KEPT_BYTES)


class KeptRun(NamedTuple):
    """A run that is kept whole."""

    agent: str
    success: Outcome
    mark: int
    id: str
    line: bytes
    """Its canonical JSON."""
    sampled: bool
    """Whether it is one of the lowest marks of all runs of its agent and outcome."""
    commented: bool
    """Whether it is one of the lowest marks of those that have feedback."""


@dataclass(slots=True)
class _Lowest:
    """The lines with the lowest marks of one agent and outcome, as many as the bounds allow."""

    most: int
    most_bytes: int
    bar: int = 1 << 40
    """Marks from here on are out of bounds, whatever comes."""
    size: int = 0
    heap: list[tuple[int, str, bytes]] = field(default_factory=list)

    def add(self, mark: int, id: str, line: bytes) -> None:
        if mark >= self.bar:
            return
        heapq.heappush(self.heap, (-mark, id, line))
        self.size += len(line)
        while len(self.heap) > self.most or self.size > self.most_bytes:
            # What has been let go bounds all that follows: else a small line that comes late
            # would be kept although one with a lower mark was not.
            self.bar = self._let_go()

    def lower(self, bar: int) -> None:
        """Let go of what is not below the bar."""
        self.bar = min(self.bar, bar)
        while self.heap and -self.heap[0][0] >= self.bar:
            self._let_go()

    def _let_go(self) -> int:
        lowered, _, gone = heapq.heappop(self.heap)
        self.size -= len(gone)
        return -lowered


class Sample:
    """For each agent and outcome the lines of its runs with the lowest marks.

    Runs with feedback have places of their own besides: what is told of all runs is to be found
    in those without, else feedback would weigh too much. The sample of a whole is the sample of
    its parts' samples: it can be merged, in any order.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, Outcome, bool], _Lowest] = {}

    def add(
        self,
        line: bytes,
        id: str,
        agent: str,
        success: Outcome,
        *,
        commented: bool = False,
        mark: int | None = None,
    ) -> None:
        """Offer the run whose canonical JSON is `line`.

        Args:
            commented: Whether it has feedback.
            mark: What `mark_of` says of it, where that is known.
        """
        if len(line := line.strip()) > KEPT_BYTES // 8:
            return
        if mark is None:
            mark = mark_of(agent, id)
        self._group(agent, success, False).add(mark, id, line)
        if commented:
            self._group(agent, success, True).add(mark, id, line)

    def merge(self, other: Sample) -> None:
        """Take in what another sample, of other runs, has kept."""
        for key, lowest in other._groups.items():
            group = self._group(*key)
            group.lower(lowest.bar)
            for lowered, id, line in lowest.heap:
                group.add(-lowered, id, line)

    def runs(self) -> Iterator[KeptRun]:
        """Yield the runs that are kept, each once."""
        for (agent, success, commented), group in self._groups.items():
            if commented:
                continue
            sampled = {id for _, id, _ in group.heap}
            said = self._groups.get((agent, success, True))
            with_feedback = {id for _, id, _ in said.heap} if said else frozenset[str]()
            for lowered, id, line in group.heap:
                yield KeptRun(agent, success, -lowered, id, line, True, id in with_feedback)
            for lowered, id, line in said.heap if said else ():
                if id not in sampled:
                    yield KeptRun(agent, success, -lowered, id, line, False, True)

    def _group(self, agent: str, success: Outcome, commented: bool) -> _Lowest:
        group = self._groups.get((agent, success, commented))
        if group is None:
            group = _Lowest(*bounds(commented=commented))
            self._groups[agent, success, commented] = group
        return group
