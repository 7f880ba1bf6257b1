"""The evidence of the cycles that run, kept from node to node."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from tracetune.nodes.evidence.gathering import Evidence

__all__ = ["EvidenceShelf"]


class EvidenceShelf:
    """The evidence of the latest cycles, by what stands for each; bounded, safe under threads."""

    def __init__(self, size: int = 4) -> None:
        self._size = size
        self._kept: OrderedDict[str, Mapping[str, Evidence]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, cycle: str, evidence: Mapping[str, Evidence]) -> None:
        """Keep the evidence; the oldest goes when the shelf is full."""
        with self._lock:
            self._kept[cycle] = evidence
            self._kept.move_to_end(cycle)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def get(self, cycle: str) -> Mapping[str, Evidence] | None:
        """The evidence of this cycle, by agent, if it still is here."""
        with self._lock:
            return self._kept.get(cycle)

    def drop(self, cycle: str) -> None:
        """Keep it no longer; whoever still uses it does so to the end."""
        with self._lock:
            self._kept.pop(cycle, None)
