"""How long a prompt was before it was updated for the first time, where results are fed back in."""

from __future__ import annotations

import threading
from collections import OrderedDict

__all__ = ["MADE", "FirstSizes"]

KEPT = 10_000


class FirstSizes:
    """First sizes by the text that came of it; bounded, safe under threads.

    A budget made from each text's own size would let a prompt that is fed back in grow for ever.
    A text that a person changed is not known: it is a new start.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._sizes: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, text: str, size: int) -> None:
        """Keep that this text came of one of so many characters."""
        with self._lock:
            self._sizes[hash(text)] = size
            self._sizes.move_to_end(hash(text))
            if len(self._sizes) > self._kept:
                self._sizes.popitem(last=False)

    def of(self, text: str) -> int | None:
        """Characters of the text that this one came of; None where it is not known."""
        with self._lock:
            return self._sizes.get(hash(text))


MADE = FirstSizes()
"""Of the texts that this process has made."""
