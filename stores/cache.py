"""One value of a store, kept to be read in well under a microsecond and renewed behind the reader.

An age counts from the moment a load began. Below `max_age_s` a read returns at once; from
there on it still does, and one renewal starts behind it; from `wait_age_s` on a read waits for
the renewal. A store that fails or does not answer makes nobody wait twice: the last known
value is served and asked for again each `max_age_s`.

A load is kept only if nothing was kept since it began. Of two loads that overlap, either may
have read the older state, so only then can no reader go back in time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
import threading
import time
import weakref
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from numbers import Real
from typing import Any, Generic, NamedTuple, TypeVar

from tracetune.errors import InputError

__all__ = ["HeadCache"]

T = TypeVar("T")

_WAIT_FACTOR = 10
_MAX_TRIES = 3
"""Loads that may hang side by side: each holds a thread."""

_log = logging.getLogger(__name__)


class _Entry(NamedTuple, Generic[T]):
    """A value, and until when on the cache's clock it may be served how."""

    value: T | None
    loaded_at: float
    fresh_until: float
    wait_from: float


class _Flight(Future[T | None]):
    """A load under way; any number of readers may wait for it. Cancelled: it will tell nothing."""

    def __init__(self, loop: AbstractEventLoop | None, kept: int, now: float, tries: int) -> None:
        super().__init__()
        self.loop = loop
        """Where it runs as a task; None for a thread."""
        self.kept = kept
        self.began_at = now
        self.tries = tries
        self.overdue = False
        """Whether a reader has waited for it in vain."""

    def lost(self) -> bool:
        """Whether its event loop went away under it."""
        return self.loop is not None and not self.loop.is_running()


class HeadCache(Generic[T]):
    """The last known value of a store's head; each read returns one whole value or None.

    Safe for threads, event loops and after a fork. Values must be immutable: all readers
    share them. It holds one value, and at exit its daemon threads are left behind in silence.
    """

    def __init__(
        self,
        load: Callable[[], T | None],
        aload: Callable[[], Awaitable[T | None]] | None = None,
        *,
        what: str = "the head",
        max_age_s: float = 5.0,
        wait_age_s: float | None = None,
        patience_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            load: Reads the store; runs in the first reader's thread, then in a daemon thread.
            aload: The same for `aget`, run as a task; left out, `aget` runs `load` in a thread.
            what: The thing that is read, for the log.
            max_age_s: Seconds; 0 keeps nothing: every read loads, and raises what that raises.
            wait_age_s: Seconds, at least `max_age_s`; ten times that when left out.
            patience_s: Seconds that a reader past `wait_age_s` waits before it takes the last
                known value.
            clock: Seconds that never go back.

        Raises:
            InputError: A number is negative or not a number, or `wait_age_s` is too small.
        """
        _check_seconds("max_age_s", max_age_s, 0)
        wait_age_s = _WAIT_FACTOR * max_age_s if wait_age_s is None else wait_age_s
        _check_seconds("wait_age_s", wait_age_s, max_age_s)
        _check_seconds("patience_s", patience_s, 0)
        self._load, self._aload = load, aload
        self._what = what
        self._max_age_s, self._wait_age_s = max_age_s, wait_age_s
        self._patience_s = min(patience_s, threading.TIMEOUT_MAX)
        self._clock = clock
        self._entry: _Entry[T] | None = None
        self._lock = threading.Lock()
        self._flight: _Flight[T] | None = None
        self._kept = 0
        self._failing = False
        self._tasks: set[asyncio.Task[None]] = set()
        _caches.add(self)

    def get(self) -> T | None:
        """Return the value, at once unless there is none yet or it is older than `wait_age_s`.

        Inside an event loop it never waits when there is a value, however old and even after
        `invalidate`; only the very first read loads in place. Await `aget` there to be bounded.

        Raises:
            Whatever `load` raises, while there is no value to serve instead.
        """
        entry = self._entry
        if entry is not None and self._clock() < entry.fresh_until:
            return entry.value
        return self._read(entry)

    async def aget(self) -> T | None:
        """Return the value as `get` does, waiting without blocking the event loop.

        Raises:
            Whatever the load raises, while there is no value to serve instead.
        """
        entry = self._entry
        if entry is not None and self._clock() < entry.fresh_until:
            return entry.value
        return await self._aread(entry)

    @property
    def stamp(self) -> int:
        """What `put` wants to know: read it before a write to the store begins."""
        return self._kept

    def put(self, value: T | None, *, since: int) -> None:
        """Serve what was just written to the store, without reading it back.

        Where something else was kept since the stamp, either may be the newer, so the next
        reader asks the store.
        """
        with self._lock:
            if since == self._kept and self._max_age_s > 0:
                self._keep(value, self._clock())
                self._flight = None
                return
        self.invalidate()

    def invalidate(self) -> None:
        """Have the next reader wait for the store, as if the value had passed `wait_age_s`."""
        with self._lock:
            self._kept += 1
            self._flight = None
            if self._entry is not None:
                self._entry = self._entry._replace(fresh_until=-math.inf, wait_from=-math.inf)

    def _read(self, entry: _Entry[T] | None) -> T | None:
        if self._max_age_s == 0:
            return self._load()
        # Waiting in a loop's own thread would block it, and for what runs on it, for ever.
        in_loop = _in_loop()
        while True:
            flight, mine = self._board(entry, None, alone=in_loop and entry is None)
            if flight is not None and entry is None:
                if mine:
                    self._fly(flight)
                with suppress(Exception):  # raised below, unless another load did better
                    flight.result()
            elif flight is not None and entry is not None:
                if mine:
                    self._start_thread(flight)
                if self._worth_waiting(entry, flight):
                    with suppress(Exception):  # it was logged where it failed
                        flight.result(0 if in_loop else self._patience_s)
                    if not in_loop or self._clock() - flight.began_at >= self._patience_s:
                        self._give_up(flight)
            if flight is None or not flight.cancelled():
                return self._served(flight)
            entry = self._entry

    async def _aread(self, entry: _Entry[T] | None) -> T | None:
        aload = self._aload
        if self._max_age_s == 0:
            return await (aload() if aload else asyncio.to_thread(self._load))
        loop = asyncio.get_running_loop() if aload else None
        while True:
            flight, mine = self._board(entry, loop)
            if flight is not None:
                if mine:
                    self._start_task(flight, aload) if aload else self._start_thread(flight)
                if entry is None:
                    await _landing(flight, None)
                elif self._worth_waiting(entry, flight):
                    await _landing(flight, self._patience_s)
                    self._give_up(flight)
            if flight is None or not flight.cancelled():
                return self._served(flight)
            entry = self._entry

    def _board(
        self, entry: _Entry[T] | None, loop: AbstractEventLoop | None, *, alone: bool = False
    ) -> tuple[_Flight[T] | None, bool]:
        """Return the flight for who saw `entry`, and whether to start it; None: look again."""
        with self._lock:
            if self._entry is not entry:
                return None, False
            flight = self._flight
            tries = 1
            if flight is not None and flight.overdue and flight.tries < _MAX_TRIES:
                tries = flight.tries + 1
            elif flight is not None and not flight.lost():
                # Nobody stakes a wait without end on an event loop that may stop.
                foreign = entry is None and flight.loop not in (None, loop)
                if not (foreign or alone):
                    return flight, False
            self._flight = _Flight(loop, self._kept, self._clock(), tries)
            return self._flight, True

    def _worth_waiting(self, entry: _Entry[T], flight: _Flight[T]) -> bool:
        return self._clock() >= entry.wait_from and not flight.overdue

    def _served(self, flight: _Flight[T] | None) -> T | None:
        entry = self._entry
        if entry is None and flight is not None:
            return flight.result()
        return entry.value if entry else None

    def _start_thread(self, flight: _Flight[T]) -> None:
        name = f"tracetune: {self._what}"
        try:
            threading.Thread(target=self._fly, args=(flight,), name=name, daemon=True).start()
        except RuntimeError as error:  # no thread can be had: too many, or the process is ending
            self._fail(flight, error)

    def _start_task(self, flight: _Flight[T], aload: Callable[[], Awaitable[T | None]]) -> None:
        # A task of its own, so that a reader who is cancelled takes no one else along.
        task = asyncio.get_running_loop().create_task(self._afly(flight, aload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _fly(self, flight: _Flight[T]) -> None:
        with self._settling(flight):
            self._land(flight, self._load())

    async def _afly(self, flight: _Flight[T], aload: Callable[[], Awaitable[T | None]]) -> None:
        with self._settling(flight):
            self._land(flight, await aload())

    @contextmanager
    def _settling(self, flight: _Flight[T]) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._fail(flight, error)
        except BaseException:
            with self._lock:
                self._free(flight)
            flight.cancel()
            raise

    def _land(self, flight: _Flight[T], value: T | None) -> None:
        recovered = False
        with self._lock:
            self._free(flight)
            if flight.kept == self._kept:
                self._keep(value, flight.began_at)
                recovered, self._failing = self._failing, False
        if recovered:
            # As loud as the outage: who was told of its beginning must learn of its end.
            self._say("%s is read from the store again.")
        flight.set_result(value)

    def _fail(self, flight: _Flight[T], error: Exception) -> None:
        with self._lock:
            self._free(flight)
            news, age = self._hold(flight)
        if news:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self._say("%s cannot be read; the last known, %.0f s old, is served: %s", age, reason)
        flight.set_exception(error)

    def _give_up(self, flight: _Flight[T]) -> None:
        with self._lock:
            if flight.done():
                return
            flight.overdue = True
            news, age = self._hold(flight)
        if news:
            message = "%s: the store has not answered; the last known, %.0f s old, is served."
            self._say(message, age)

    def _free(self, flight: _Flight[T]) -> None:
        if self._flight is flight:
            self._flight = None

    def _keep(self, value: T | None, loaded_at: float) -> None:
        self._kept += 1
        fresh_until, wait_from = loaded_at + self._max_age_s, loaded_at + self._wait_age_s
        self._entry = _Entry(value, loaded_at, fresh_until, wait_from)

    def _hold(self, flight: _Flight[T]) -> tuple[bool, float]:
        """Go on with what there is after a failure; whether that is news, and its age."""
        entry, now = self._entry, self._clock()
        if entry is None or flight.kept != self._kept:
            return False, 0.0
        self._entry = entry._replace(
            fresh_until=now + self._max_age_s, wait_from=now + self._wait_age_s
        )
        news, self._failing = not self._failing, True
        return news, now - entry.loaded_at

    def _say(self, message: str, *values: Any) -> None:
        # A store that is closed under a renewal, because the program ends, is no outage.
        if threading.main_thread().is_alive() and not sys.is_finalizing():
            _log.warning(message, self._what[:1].upper() + self._what[1:], *values)


_caches: weakref.WeakSet[HeadCache[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    # Threads and tasks stayed behind in the parent, and one of them may have held the lock.
    for cache in list(_caches):
        cache._lock, cache._flight, cache._tasks = threading.Lock(), None, set()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _landing(flight: _Flight[Any], within_s: float | None) -> None:
    """Return when the flight has landed, in whatever way, or the time is up."""
    loop, landed = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(landed.set)

    flight.add_done_callback(wake)
    with suppress(TimeoutError):
        await asyncio.wait_for(landed.wait(), within_s)


def _check_seconds(name: str, value: float, least: float) -> None:
    if not (isinstance(value, Real) and value >= least):
        raise InputError(f"{name} must be {least:g} seconds or more, but got {value!r}.")
