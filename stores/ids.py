"""Ids of releases and journal entries, which sort by time."""

from __future__ import annotations

import functools
import re
import secrets
import threading
from datetime import UTC, datetime, timedelta

__all__ = ["id_time", "is_id", "new_release_id"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ID = re.compile(r"\d{8}-\d{6}-\d{3}-[0-9a-f]{6}", re.ASCII)


class _IdClock:
    """Milliseconds that never repeat nor go back within this process."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def tick(self, now: datetime, after: datetime | None) -> int:
        with self._lock:
            floor = 0 if after is None else _milliseconds(after) + 1
            self._last = max(_milliseconds(now), self._last + 1, floor)
            return self._last


_clock = _IdClock()


def new_release_id(now: datetime, *, after: str | None = None) -> str:
    """Return a new id such as `20261121-224711-482-3f9c07`: UTC time, then noise.

    Ids sort by time; within a process each is greater than the one before, even when the
    clock stands still or goes back. `now` must know its timezone.

    Args:
        after: An id that the new one must be greater than: another machine's clock may be ahead.
    """
    milliseconds = _clock.tick(now, id_time(after or ""))
    seconds, rest = divmod(milliseconds, 1000)
    noise = secrets.token_hex(3)  # other processes may commit in the same millisecond
    return f"{_second(seconds)}-{rest:03d}-{noise}"


@functools.lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return f"{_EPOCH + timedelta(seconds=seconds):%Y%m%d-%H%M%S}"


def is_id(text: str) -> bool:
    """Whether the text is a whole id, not a part of one; nothing is said of whether it exists."""
    return _ID.fullmatch(text) is not None


def id_time(record_id: str) -> datetime | None:
    """The time in UTC, to the millisecond, that an id begins with; None where it is none."""
    day, clock, milliseconds = record_id[:8], record_id[9:15], record_id[16:19]
    try:
        parts = (day[:4], day[4:6], day[6:], clock[:2], clock[2:4], clock[4:])
        year, month, of_month, hour, minute, second = map(int, parts)
        microseconds = int(milliseconds) * 1000
        return datetime(year, month, of_month, hour, minute, second, microseconds, UTC)
    except ValueError:
        return None


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
