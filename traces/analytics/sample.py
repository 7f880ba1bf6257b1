"""A bounded sample of whole runs, the same whatever the order they come in."""

from __future__ import annotations

import functools
import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["KEPT", "KEPT_BYTES", "Sample", "mark_of"]

KEPT = 2000
"""How many runs of each agent and outcome are kept whole, at most."""

KEPT_BYTES = 64 << 20
"""How many bytes of them, as lines of JSON; a run of more than an eighth of it is never kept."""

Outcome = bool | None
_md5 = functools.partial(hashlib.md5, usedforsecurity=False)


def mark_of(agent: str, id: str) -> int:
    """40 bits of a run's identity, evenly spread: lower marks are kept first. As in flatten.sql."""
    name = f"{agent}\0{id}".encode("utf-8", "replace")
    return int.from_bytes(_md5(name).digest()[11:], "little")


@dataclass(slots=True)
class _Lowest:
    """The lines with the lowest marks of one agent and outcome, as many as the bounds allow."""

    bar: int = 1 << 40
    """Marks from here on are out of bounds, whatever comes."""
    size: int = 0
    heap: list[tuple[int, str, bytes]] = field(default_factory=list)

    def add(self, mark: int, id: str, line: bytes) -> None:
        heapq.heappush(self.heap, (-mark, id, line))
        self.size += len(line)
        while len(self.heap) > KEPT or self.size > KEPT_BYTES:
            # What has been let go bounds all that follows: else a small line that comes late
            # would be kept although one with a lower mark was not.
            lowered, _, gone = heapq.heappop(self.heap)
            self.bar = -lowered
            self.size -= len(gone)


class Sample:
    """For each agent and outcome the lines of its runs with the lowest marks.

    The sample of a whole is the sample of its parts' samples: it can be merged, in any order.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, Outcome], _Lowest] = {}

    def add(self, line: bytes, id: str, agent: str, success: Outcome) -> None:
        """Offer the run whose canonical JSON is `line`."""
        mark = mark_of(agent, id)
        group = self._groups.get((agent, success))
        if group is None:
            group = self._groups[agent, success] = _Lowest()
        if mark < group.bar and len(line := line.strip()) <= KEPT_BYTES // 8:
            group.add(mark, id, line)

    def merge(self, other: Sample) -> None:
        """Take in what another sample, of other runs, has kept."""
        for (agent, success), lowest in other._groups.items():
            group = self._groups.setdefault((agent, success), _Lowest())
            group.bar = min(group.bar, lowest.bar)
            for mark, id, line in lowest.heap:
                if -mark < group.bar:
                    group.add(-mark, id, line)

    def groups(self) -> Iterator[tuple[str, Outcome, list[tuple[int, str, bytes]]]]:
        """Yield each agent and outcome with (mark, id, line) of its runs that are kept."""
        for (agent, success), group in self._groups.items():
            yield agent, success, [(-mark, id, line) for mark, id, line in group.heap]
