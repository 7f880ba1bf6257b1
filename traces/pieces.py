"""Cut a file of JSON Lines at line ends into pieces that processes read side by side.

What the pieces give is what the whole file gives, if no trace has parts in two of them, no record
without an id has an equal in another, and all their records are of one format: who reads them
compares what `Seen` says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from tracetune.traces.model import Trace
from tracetune.traces.read import MappingSource, readers_for, redacted
from tracetune.traces.readers.base import UNUSABLE, Reader
from tracetune.traces.readers.json_values import first_of_lines, lines_between, value_of
from tracetune.traces.reading import OnBad, Reading
from tracetune.traces.redaction import Redactor

__all__ = ["Piece", "Seen", "pieces_of", "read_piece"]

# Formats whose records need nothing but themselves: no neighbouring file, no line before them.
_APART = frozenset(
    {
        "canonical",
        "langsmith",
        "mapping",
        "messages",
        "mlflow",
        "otlp",
        "spans",
        "tau2",
        "tau_bench",
    }
)
_WINDOW = 1 << 20
"""How many bytes around a place are looked through for an end of a line between two traces."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines of a file, from byte `start` to byte `end`."""

    path: Path
    start: int
    end: int
    format: str
    """Name of the reader of the file's first line."""


@dataclass(slots=True)
class Seen:
    """What reading a piece has met with; filled as it is read."""

    lines: int = 0
    formats: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    """Of the traces whose parts are in the piece, and of the content of records without an id."""
    mapping: str = ""
    """Name of the mapping, if there is one."""
    rows: int = 0
    """Records that it read."""
    silent: set[str] = field(default_factory=set)
    """Fields of it that were null in all of them."""


def pieces_of(
    path: Path, count: int, *, format: str = "auto", mapping: MappingSource | None = None
) -> list[Piece]:
    """Return up to `count` pieces of about equal size, in order; none where it cannot be cut.

    It can be cut if it is plain JSON Lines of a format whose records stand by themselves. Spans
    of one trace are kept together as far as 1 MB around a cut shows them.

    Raises:
        TraceError: As `read_traces`, of `format` and `mapping`.
        OSError: The file cannot be read.
    """
    readers, _ = readers_for(format, mapping)
    size = path.stat().st_size
    with path.open("rb") as file:
        first = first_of_lines(file)
        reader = next((one for one in readers if first is not None and one.matches(first)), None)
        if reader is None or reader.name not in _APART:
            return []
        places = [_cut(file, size * index // count, reader) for index in range(1, count)]
    cuts = sorted({place for place in places if place is not None and 0 < place < size})
    bounds = zip([0, *cuts], [*cuts, size], strict=True)
    return [Piece(path, start, end, reader.name) for start, end in bounds] if cuts else []


def read_piece(
    piece: Piece,
    seen: Seen,
    *,
    format: str,
    mapping: MappingSource | None,
    redactor: Redactor,
    on_bad: OnBad,
    at_end: Callable[[], None],
) -> Iterator[tuple[int, Trace]]:
    """Yield (position, trace) of a piece, as `read_traces` does; its first line is line 1.

    Args:
        at_end: Called when the last line is read, and open traces are about to be given out.
    """
    readers, mapped = readers_for(format, mapping)
    noting = [_noting(reader, seen) for reader in readers]
    [found] = [reader for reader in noting if reader.name == piece.format]

    def records(file: BinaryIO) -> Iterator[tuple[int, Any]]:
        yield from lines_between(file, piece.start, piece.end)
        at_end()

    with piece.path.open("rb") as file:
        seen.lines = _lines_in(file, piece.start, piece.end)
        reading = Reading(noting, redacted(on_bad, redactor))
        traces = reading.records(records(file), str(piece.path), piece.path, found)
        for trace in traces:
            yield reading.place[1], redactor.trace(trace)
        seen.keys.update(reading.nameless)
    if mapped:
        seen.mapping, seen.rows, seen.silent = mapped.name, mapped.rows, set(mapped.silent())


def _noting(reader: Reader, seen: Seen) -> Reader:
    """Return the reader, which notes what it reads."""

    def matches(record: Any) -> bool:
        if not reader.matches(record):
            return False
        seen.formats.add(reader.name)
        return True

    def parts(record: Any) -> Iterator[tuple[str, Any]]:
        assert reader.parts is not None
        for key, part in reader.parts(record):
            seen.keys.add(key)
            yield key, part

    return replace(reader, matches=matches, parts=parts if reader.parts else None)


def _lines_in(file: BinaryIO, start: int, end: int) -> int:
    file.seek(start)
    sizes = [_WINDOW] * ((end - start) // _WINDOW) + [(end - start) % _WINDOW]
    return sum(file.read(size).count(b"\n") for size in sizes)


def _cut(file: BinaryIO, near: int, reader: Reader) -> int | None:
    """Return the end of a line close to a byte, with no trace on both sides of it in sight."""
    file.seek(max(0, near - _WINDOW // 2))
    if not file.readline(_WINDOW).endswith(b"\n"):  # what is left of a line, or all of one
        return None
    ends: list[int] = []
    keys: list[set[str]] = []
    while (at := file.tell()) < near + _WINDOW // 2 and (line := file.readline(_WINDOW)):
        if not line.endswith(b"\n"):
            return None
        if reader.parts is None and at >= near:
            return at
        ends.append(file.tell())
        keys.append(_keys(reader, line))
    last = {key: index for index, found in enumerate(keys) for key in found}
    clean: list[int] = []
    reach = -1
    for index, found in enumerate(keys[:-1]):
        reach = max(reach, *(last[key] for key in found), -1)
        if reach <= index and abs(ends[index] - near) <= _WINDOW // 4:  # with some on both sides
            clean.append(ends[index])
    return min(clean, key=lambda end: abs(end - near), default=None)


def _keys(reader: Reader, line: bytes) -> set[str]:
    """Return the traces that a line has parts of."""
    keys: set[str] = set()
    if reader.parts is not None and reader.matches(record := value_of(line)):
        with contextlib.suppress(*UNUSABLE):
            keys.update(key for key, _ in reader.parts(record))
    return keys
