"""Read traces of any known format from files, folders, globs or data in memory."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tracetune.errors import TraceError
from tracetune.traces.model import Trace
from tracetune.traces.readers.base import UNUSABLE, BadRecord, Context, Reader, reason_of
from tracetune.traces.readers.canonical import CANONICAL
from tracetune.traces.readers.files import NotJson, find_files, json_records
from tracetune.traces.readers.messages import MESSAGES
from tracetune.traces.readers.stratus import STRATUS
from tracetune.traces.readers.tau2 import TAU2

__all__ = ["FORMATS", "BadRecord", "read_traces"]

_READERS = (TAU2, STRATUS, CANONICAL, MESSAGES)
FORMATS = ("auto", *sorted(reader.name for reader in _READERS))
"""What `format` may be."""

_PROBE = 100
"""How many records of a file may be of no known format before the file is refused."""

_log = logging.getLogger(__name__)

OnBad = Callable[[BadRecord], None]
Source = str | os.PathLike[str] | Iterable[Any]


def read_traces(
    source: Source, *, format: str = "auto", on_bad: OnBad | None = None
) -> Iterator[Trace]:
    """Return an iterator of the traces in `source`, files in sorted order, records in theirs.

    A record that cannot be used is set aside and never stops the run: it goes to `on_bad`,
    or to the log as a warning. Paths are looked up at once, files are read as the iterator goes.

    Args:
        source: A file, folder or glob; a list of those; or an iterable of records: canonical
            or foreign objects, lists of messages, traces. Files are JSON or JSON Lines, plain
            or gzip.
        format: One of `FORMATS`; "auto" tells by each record's shape.

    Raises:
        TraceError: `format` is not known, or nothing is at a path. While iterating: a file
            cannot be read or is in no known format. A file that was found in a folder or by
            a glob is set aside instead, unless all of them are of no use.
    """
    if format not in FORMATS:
        raise TraceError(f"format is {format!r}, expected one of {', '.join(FORMATS)}")
    reading = _Reading([r for r in _READERS if format in ("auto", r.name)], on_bad or _warn)
    if isinstance(source, str | os.PathLike):
        return reading.files(*find_files(source), str(source))
    if not isinstance(source, Iterable):
        raise TraceError(f"source is {source!r:.40}, expected a path or an iterable of records")
    if isinstance(source, list | tuple) and source and all(map(_is_path, source)):
        found = [(*find_files(path), str(path)) for path in source]
        return itertools.chain.from_iterable(reading.files(*each) for each in found)
    records = [source] if isinstance(source, Mapping) else source
    return reading.records(enumerate(records, 1), "records", None, reading.readers)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def _warn(bad: BadRecord) -> None:
    _log.warning("%s:%d was set aside: %s", bad.source, bad.position, bad.reason)


class _Reading:
    """One call of `read_traces`: the readers it may use and where its bad records go."""

    def __init__(self, readers: list[Reader], on_bad: OnBad) -> None:
        self.readers = readers
        self.on_bad = on_bad
        self.memo: dict[Path, Any] = {}

    def files(self, paths: list[Path], named: bool, source: str) -> Iterator[Trace]:
        """Yield the traces of all files; a named file must be usable, of found ones any."""
        useless: list[TraceError] = []
        for path in paths:
            try:
                yield from self.file(path)
            except TraceError as error:
                if named:
                    raise
                useless.append(error)
                self.on_bad(BadRecord(str(path), 1, str(error).removeprefix(f"{path}: ")))
        if not paths:
            raise TraceError(f"{source}: holds no .json, .jsonl or .ndjson file, gzipped or not")
        if len(useless) == len(paths):
            more = f" ({len(paths)} files, none can be used)" if len(paths) > 1 else ""
            raise TraceError(f"{useless[0]}{more}")

    def file(self, path: Path) -> Iterator[Trace]:
        """Yield the traces of one file."""
        records = json_records(path)
        head = list(itertools.islice(records, _PROBE))
        known = [r for r in self.readers if any(self._is(r, record) for _, record in head)]
        if head and not known:
            names = ", ".join(reader.name for reader in self.readers)
            raise TraceError(f"{path}: is in no known format, expected {names}")
        yield from self.records(itertools.chain(head, records), str(path), path, known)

    def records(
        self,
        records: Iterable[tuple[int, Any]],
        source: str,
        path: Path | None,
        likely: list[Reader],
    ) -> Iterator[Trace]:
        """Yield the traces of records; one of unclear shape is read as the likeliest format."""
        for position, record in records:

            def aside(reason: str, position: int = position) -> None:
                self.on_bad(BadRecord(source, position, reason))

            if isinstance(record, Trace):
                yield record
            elif isinstance(record, NotJson):
                aside(record.reason)
            else:
                context = Context(path, aside, self.memo)
                yield from self._record(record, likely, context)

    def _record(self, record: Any, likely: list[Reader], context: Context) -> Iterator[Trace]:
        reader = next((r for r in self.readers if self._is(r, record)), None)
        if reader is None and len(likely) == 1:
            reader = likely[0]
        if reader is None or not isinstance(record, Mapping | list | tuple):
            shown = sorted(record) if isinstance(record, Mapping) else type(record).__name__
            known = ", ".join(r.name for r in self.readers)
            context.set_aside(f"{shown!s:.80} is in no known format, expected {known}")
            return
        try:
            yield from reader.read(record, context)
        except UNUSABLE as error:
            context.set_aside(reason_of(error))

    def _is(self, reader: Reader, record: Any) -> bool:
        return not isinstance(record, NotJson) and reader.matches(record)
