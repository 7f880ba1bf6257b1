"""Gather the parts of traces that lie apart in a file, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson

from tracetune.traces.readers.base import Reader, shown

__all__ = ["Gathered", "Gatherer", "TooLateError"]

MAX_BYTES = 128 * 2**20
"""The most that open traces may hold together, in bytes of JSON, estimated."""

_EVERY = 32  # how many parts stand for one whose size is looked at


class TooLateError(ValueError):
    """A part came after its trace had been given out."""


class Gathered(msgspec.Struct, frozen=True):
    """What makes one call of a reader."""

    reader: Reader
    position: int
    """Of the record, or of the one that holds the first part."""
    record: Any
    """The list of all parts of one trace so far; a whole record where the format has no parts."""


class Gatherer:
    """The traces of one file whose parts are not all read yet.

    When they hold more than `max_bytes`, those that got no part for longest are taken for whole.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._open: OrderedDict[tuple[str, str], Gathered] = OrderedDict()
        self._given: set[int] = set()
        self._last: tuple[str, str] | None = None
        self._parts = self._seen = self._weighed = 0
        self._mean = 0.0

    @property
    def is_full(self) -> bool:
        """Whether a trace is to be taken out before the next part is added."""
        return self._parts * self._mean > self._max_bytes

    def add(self, reader: Reader, key: str, part: Any, position: int) -> None:
        """Keep a part of the trace with this key.

        Raises:
            TooLateError: The trace was taken out already.
        """
        name = (reader.name, key)
        one = self._open.get(name)
        if one is None:
            if self._given and hash(name) in self._given:
                raise TooLateError(
                    f"a part of trace {shown(key, 80)} lies more than {self._max_bytes >> 20} MB"
                    " after the others; sort the file by trace"
                )
            one = self._open[name] = Gathered(reader, position, [])
        elif name != self._last:
            self._open.move_to_end(name)
        self._last = name
        one.record.append(part)
        if self._seen % _EVERY == 0:
            self._weighed += 1
            self._mean += (_size(part) - self._mean) / self._weighed
        self._seen += 1
        self._parts += 1

    def take(self) -> Gathered:
        """Take out the trace that got no part for longest."""
        name, one = self._open.popitem(last=False)
        self._given.add(hash(name))
        self._parts -= len(one.record)
        return one

    def rest(self) -> Iterator[Gathered]:
        """Take out all, in the order of their last parts."""
        while self._open:
            yield self.take()


def _size(part: Any) -> int:
    try:
        return len(orjson.dumps(part, default=_plain, option=orjson.OPT_NON_STR_KEYS))
    except TypeError:  # whole numbers beyond 64 bits, lone surrogates
        return len(repr(part))


def _plain(value: Any) -> Any:
    return msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else str(value)
