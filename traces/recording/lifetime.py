"""What recorders do at the end of Python, and in a process that is forked."""

from __future__ import annotations

import _thread
import atexit
import os
import weakref
from collections.abc import Callable
from concurrent.futures import thread as pool
from typing import Protocol

__all__ = ["at_last", "watch"]


_MOMENT_S = 0.05
"""Longer than any other thread holds the lock of all pools."""


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


def at_last(act: Callable[[], None]) -> None:
    """Do what one does that is collected: now, or in a thread where this one might stop for ever.

    It may be collected just while this thread gives another pool something to do, and the lock
    that all pools share is then held by this very thread.
    """
    lock = getattr(pool, "_global_shutdown_lock", None)
    if lock is not None and not lock.acquire(timeout=_MOMENT_S):
        _thread.start_new_thread(act, ())  # it needs no lock itself
        return
    if lock is not None:
        lock.release()
    act()


def _in_child() -> None:
    for one in list(_living):
        one.forked()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)
