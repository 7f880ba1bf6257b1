"""The evidence of the cycles that run, kept from node to node."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping

from tracetune.nodes.evidence.gathering import Evidence

__all__ = ["EvidenceShelf"]


class EvidenceShelf:
    """The evidence of cycles, by what stands for each; safe under threads.

    That of cycles that run is kept, however many they are. Of those whose run has ended without
    a word, killed or failed, the latest few are kept, to go on from.
    """

    def __init__(self, size: int = 4) -> None:
        self._size = size
        self._kept: OrderedDict[str, tuple[weakref.ref[object], Mapping[str, Evidence]]]
        self._kept = OrderedDict()
        self._lock = threading.Lock()

    def put(self, cycle: str, evidence: Mapping[str, Evidence], run: object) -> None:
        """Keep the evidence at least as long as `run` lives, which stands for the graph's run."""
        with self._lock:
            self._kept[cycle] = weakref.ref(run), evidence
            self._kept.move_to_end(cycle)
            ended = [name for name, (alive, _) in self._kept.items() if alive() is None]
            for name in ended[: -self._size]:
                del self._kept[name]

    def get(self, cycle: str, run: object) -> Mapping[str, Evidence] | None:
        """The evidence of this cycle, by agent, if it still is here; kept for this run from now."""
        with self._lock:
            if cycle not in self._kept:
                return None
            _, evidence = self._kept[cycle]
            self._kept[cycle] = weakref.ref(run), evidence
            return evidence

    def drop(self, cycle: str) -> None:
        """Keep it no longer; whoever still uses it does so to the end."""
        with self._lock:
            self._kept.pop(cycle, None)
