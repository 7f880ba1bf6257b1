"""Take the values out of JSON and JSON Lines, in memory that does not grow with the file."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import orjson

from tracetune.traces.readers.base import looks_said

__all__ = [
    "MAX_BYTES",
    "NoJsonError",
    "NotJson",
    "first_of_lines",
    "json_values",
    "lines_between",
    "value_of",
]

MAX_BYTES = 512 * 2**20
"""The most bytes that one line, or one JSON value that is no list, may have."""

STREAM_FROM = 32 * 2**20
"""A JSON list of more bytes is read item by item. There NaN and infinities are null."""

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_HALVES = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_END_OF_TEXT = re.compile(rb'(?:[^"\\]|\\.)*"?', re.DOTALL)
_TEXT_OR_ODD = re.compile(rb'"(?:[^"\\]|\\.)*"?|-?Infinity|NaN', re.DOTALL)
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
    value = _skipped(file, first) or value_of(first)
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


def first_of_lines(file: BinaryIO) -> Any:
    """Return the first value of a file that `json_values` reads line by line; else None."""
    try:
        _, line = _first_line(file)
    except NoJsonError:
        return None
    value = value_of(line) if line.endswith(b"\n") else None
    more = any(not line.isspace() for line in iter(lambda: file.readline(STREAM_FROM), b""))
    return value if more and not isinstance(value, NotJson) else None


def lines_between(file: BinaryIO, start: int, end: int) -> Values:
    """Yield what the lines from one byte to another hold, as `json_values`; the first is line 1."""
    file.seek(start)
    if start == 0 and file.read(len(_BOM)) != _BOM:
        file.seek(0)
    yield from _lines(file, 1, end)


def _lines(file: BinaryIO, position: int, end: float = math.inf) -> Values:
    """Yield what the lines from here on hold, blank ones left out; `position` is the next line."""
    while (end == math.inf or file.tell() < end) and (line := file.readline(MAX_BYTES + 1)):
        if not line.isspace():
            yield position, _skipped(file, line) or value_of(line)
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
    if ended and not isinstance(value := value_of(held), NotJson):
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
        if isinstance(value := value_of(held), NotJson):
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

    items = ijson.items(_Finite(_Joined(begun, file)), "item", use_float=True)
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
        return looks_said(next(ijson.items(_Finite(io.BytesIO(begun)), "item"), None))
    except (ijson.JSONError, UnicodeDecodeError):
        return False


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Joined:
    """A file whose beginning was read already."""

    def __init__(self, begun: bytes, rest: BinaryIO) -> None:
        self._begun = io.BytesIO(begun)
        self._rest = rest

    def read(self, size: int) -> bytes:
        return self._begun.read(size) or self._rest.read(size)


class _Finite:
    """JSON from a file, with null for NaN and infinities, which its grammar does not have."""

    def __init__(self, file: _Readable) -> None:
        self._file = file
        self._held: list[bytes] = []
        self._in_text = False

    def read(self, size: int) -> bytes:
        while data := self._file.read(size):
            # After a comma neither a name nor an escape goes on.
            if end := data.rfind(b",") + 1:
                whole = b"".join([*self._held, data[:end]])
                self._held = [data[end:]]
                return self._without_odd(whole)
            self._held.append(data)
        rest = b"".join(self._held)
        self._held = []
        return self._without_odd(rest)

    def _without_odd(self, data: bytes) -> bytes:
        told = _ESCAPE.sub(b"", data) if b"\\" in data else data
        begun_in_text, self._in_text = self._in_text, self._in_text ^ bool(told.count(b'"') & 1)
        if b"NaN" not in data and b"Infinity" not in data:
            return data
        first = _END_OF_TEXT.match(data) if begun_in_text else None
        at = first.end() if first else 0
        return data[:at] + _TEXT_OR_ODD.sub(_null_if_odd, data[at:])


def _null_if_odd(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0].startswith(b'"') else b"null"


def _items(value: Any) -> Values:
    one_run = isinstance(value, list) and value and looks_said(value[0])
    return iter(enumerate([value] if one_run or not isinstance(value, list) else value, 1))


def value_of(data: bytes | bytearray) -> Any:
    """Return the JSON value that the bytes are, or a `NotJson`; NaN and half characters pass."""
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
