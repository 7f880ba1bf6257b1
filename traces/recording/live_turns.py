"""How many turns a run takes while it goes on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Turns"]


@dataclass(slots=True)
class Turns:
    """Steps of the graph, and calls of models by the agent that is stamped on them."""

    steps: set[int] = field(default_factory=set)
    calls: Counter[str | None] = field(default_factory=Counter)
    _at: int | None = None
    _refused: set[str | None] = field(default_factory=set)
    """Whose last call failed: another try is the same call."""

    def stepped(self, step: int) -> None:
        since = step if self._at is None else self._at  # a cached step is not told of
        self.steps.update(range(since, step + 1))
        self._at = step

    def resumed(self) -> None:
        self._at = None  # edits of the state count as steps there

    def called(self, agent: str | None) -> None:
        self.calls[agent] += agent not in self._refused
        self._refused.discard(agent)

    def failed(self, agent: str | None) -> None:
        self._refused.add(agent)

    def count(self, agent: str, tuned: bool) -> int | None:
        """Return the turns as its limit counts them: that of `TunedPrompt` counts its own calls."""
        if self.steps and not tuned:
            return len(self.steps)
        return self.calls[agent] or self.calls.total() or None
