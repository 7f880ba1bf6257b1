"""What recorders do at the end of Python, and in a process that is forked."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable
from typing import Protocol

__all__ = ["watch"]


class Lasting(Protocol):
    """What may last as long as its process."""

    def close(self) -> None:
        """Finish what waits, at the end of Python."""
        ...

    def forked(self) -> None:
        """Begin anew in a child process."""
        ...


_living: weakref.WeakSet[Lasting] = weakref.WeakSet()


def watch(one: Lasting) -> Callable[[], None]:
    """Tell it of Python's end and of forks, as long as it lives; give `atexit` back what it got."""
    known = weakref.ref(one)

    def close() -> None:
        if (living := known()) is not None:
            living.close()

    atexit.register(close)
    _living.add(one)
    return close


def _in_child() -> None:
    for one in list(_living):
        one.forked()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)
