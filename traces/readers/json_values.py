"""Take the values out of JSON and JSON Lines, in memory that does not grow with the file."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from tracetune.traces.readers.base import looks_said

__all__ = ["MAX_BYTES", "NoJsonError", "NotJson", "json_values"]

MAX_BYTES = 512 * 2**20
"""The most bytes that one line, or one JSON value that is no list, may have."""

STREAM_FROM = 32 * 2**20
"""A JSON list of more bytes is read item by item. That is as fast, but knows no NaN."""

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_HALVES = re.compile("[\ud800-\udfff]")
_LOOKED_AT = 100  # lines that tell whether a file is JSON Lines

Values = Iterator[tuple[int, Any]]


@dataclass(frozen=True, slots=True)
class NotJson:
    """Stands for a line that does not parse."""

    reason: str


class NoJsonError(ValueError):
    """The file is neither JSON nor JSON Lines; the message says why."""


def json_values(file: BinaryIO) -> Values:
    """Yield (position, JSON value or NotJson), positions from 1.

    JSON Lines are read line by line, and the position is the line. Else the file is one JSON
    value: a list yields its items by index, anything else itself at 1.

    Raises:
        NoJsonError: It is neither, or one value of more than `MAX_BYTES`.
    """
    position, first = _first_line(file)
    if not first.endswith(b"\n") and len(first) >= STREAM_FROM:
        if first.startswith(b"[") and not _is_one_run(first):
            yield from _long_list(first, file)
            return
        first += file.readline(MAX_BYTES + 1 - len(first))
    if not first:
        return
    value = _skipped(file, first) or _parsed(first)
    if isinstance(value, NotJson) and len(first) <= MAX_BYTES:
        # One value over many lines, or JSON Lines whose first line is broken.
        yield from _many_lines(first, position, file)
        return
    rest = _lines(file, position + 1)
    second = next(rest, None)
    if second is None:
        if isinstance(value, NotJson):
            raise NoJsonError(value.reason)
        yield from _items(value)
        return
    yield position, value
    yield from itertools.chain([second], rest)


def _first_line(file: BinaryIO) -> tuple[int, bytes]:
    """Return the first line that is not blank, up to `STREAM_FROM` bytes, and its number."""
    for position in itertools.count(1):
        line = file.readline(STREAM_FROM)
        if position == 1:
            line = line.removeprefix(_BOM)
            if line.startswith(_UTF_16):
                raise NoJsonError("it is UTF-16, expected UTF-8")
        if not line.isspace():
            return position, line
    raise AssertionError("unreachable")


def _lines(file: BinaryIO, position: int) -> Values:
    """Yield what the lines from here on hold, blank ones left out; `position` is the next line."""
    while line := file.readline(MAX_BYTES + 1):
        if not line.isspace():
            yield position, _skipped(file, line) or _parsed(line)
        position += 1


def _skipped(file: BinaryIO, line: bytes) -> NotJson | None:
    """Go to the end of a line that is too long, and say so; None when it is not."""
    if len(line) <= MAX_BYTES:
        return None
    while line and not line.endswith(b"\n"):
        line = file.readline(STREAM_FROM)
    return NotJson(f"the line is longer than {MAX_BYTES >> 20} MB")


def _many_lines(first: bytes, position: int, file: BinaryIO) -> Values:
    """Read on after a line that is no JSON by itself."""
    held = bytearray(first)
    _fill(held, file, STREAM_FROM)
    ended = len(held) < STREAM_FROM
    if ended and not isinstance(value := _parsed(held), NotJson):
        yield from _items(value)
        return
    own, share = _lines_of_their_own(held)
    if share >= 0.5 or (own and not held.startswith(b"[")):
        yield from _lines(io.BytesIO(held), position)
        yield from _lines(file, position + held.count(b"\n"))
    elif held.startswith(b"[") and not _is_one_run(held):
        yield from _long_list(bytes(held), file)
    else:
        _fill(held, file, MAX_BYTES + 1)
        if len(held) > MAX_BYTES:
            raise NoJsonError(f"one value of more than {MAX_BYTES >> 20} MB, expected JSON Lines")
        if isinstance(value := _parsed(held), NotJson):
            raise NoJsonError(value.reason)
        yield from _items(value)


def _fill(held: bytearray, file: BinaryIO, size: int) -> None:
    """Add whole lines until there are `size` bytes or none are left."""
    while len(held) < size and (line := file.readline(MAX_BYTES + 1)):
        held += line


def _lines_of_their_own(held: bytearray) -> tuple[int, float]:
    """Return how many of the first lines are an object or a list, and what share that is."""
    looked_at = [
        isinstance(value, dict | list)
        for _, value in itertools.islice(_lines(io.BytesIO(held), 1), _LOOKED_AT)
    ]
    return sum(looked_at), sum(looked_at) / (len(looked_at) or 1)


def _long_list(begun: bytes, file: BinaryIO) -> Values:
    """Yield a list's items one by one; where it breaks off, what is left is set aside."""
    import ijson  # type: ignore[import-untyped]

    items = ijson.items(_Joined(begun, file), "item", use_float=True)
    index = 0
    try:
        for index, item in enumerate(items, 1):
            yield index, item
    except (ijson.JSONError, UnicodeDecodeError) as error:
        why = next(iter(str(error).splitlines()), "").strip()
        if not index:
            raise NoJsonError(why) from None
        yield index + 1, NotJson(f"not JSON: {why}; the rest of the list is not read")


def _is_one_run(begun: bytes | bytearray) -> bool:
    """Whether a list begins with a chat message: then it is one run, not a list of runs."""
    import ijson

    try:
        return looks_said(next(ijson.items(io.BytesIO(begun), "item"), None))
    except (ijson.JSONError, UnicodeDecodeError):
        return False


class _Joined:
    """A file whose beginning was read already."""

    def __init__(self, begun: bytes, rest: BinaryIO) -> None:
        self._begun = io.BytesIO(begun)
        self._rest = rest

    def read(self, size: int) -> bytes:
        return self._begun.read(size) or self._rest.read(size)


def _items(value: Any) -> Values:
    one_run = isinstance(value, list) and value and looks_said(value[0])
    return iter(enumerate([value] if one_run or not isinstance(value, list) else value, 1))


def _parsed(data: bytes | bytearray) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        reason = f"not JSON: {error}"
    # Python's own writer makes these, though JSON has no such numbers, and no half characters.
    with contextlib.suppress(ValueError, RecursionError):
        if b"\\ud" in data or b"\\uD" in data:
            said = json.dumps(json.loads(data), ensure_ascii=False)
            return json.loads(_HALVES.sub("\N{REPLACEMENT CHARACTER}", said))
        if b"NaN" in data or b"Infinity" in data:
            return json.loads(data)
    return NotJson(reason)
