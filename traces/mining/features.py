"""What a run of an agent has or lacks, and the runs that show it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tracetune.traces.mining.stratified import Ints

__all__ = ["AgentRuns", "Example", "Feature", "Task", "lowest", "shown"]

_EXAMPLES = 5

Task = tuple[str, str]
"""Agent and task."""
Example = tuple[int, str]
"""Mark and id of a run."""


class Feature(NamedTuple):
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


def lowest(rows: Ints) -> Ints:
    """Of rows (feature, succeeded, run) the five lowest runs of each feature and outcome, sorted.

    Runs are numbered by their marks.
    """
    import numpy as np

    side = 2 * rows[:, 0] + rows[:, 1]
    order = np.argsort(side * (rows[:, 2].max(initial=0) + 1) + rows[:, 2])
    rows, side = rows[order], side[order]
    return rows[np.arange(len(rows)) - np.searchsorted(side, side) < _EXAMPLES]


def shown(
    runs: Sequence[Example], having: Ints, lacking: Ints
) -> tuple[tuple[Example, ...], Ints, Ints]:
    """The runs that are in rows (feature, succeeded, run); the rows, with places among these."""
    import numpy as np

    used = np.zeros(len(runs), dtype=bool)
    used[having[:, 2]] = used[lacking[:, 2]] = True
    to = np.cumsum(used) - 1
    having, lacking = (np.column_stack([rows[:, :2], to[rows[:, 2]]]) for rows in (having, lacking))
    return tuple(itertools.compress(runs, used.tolist())), having, lacking
