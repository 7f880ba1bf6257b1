"""Read traces of any known format from files, folders, globs or data in memory."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracetune.errors import TraceError
from tracetune.traces.gather import Gathered, Gatherer, TooLateError
from tracetune.traces.model import Trace
from tracetune.traces.readers.base import UNUSABLE, BadRecord, Context, Reader, reason_of, shown
from tracetune.traces.readers.canonical import CANONICAL
from tracetune.traces.readers.files import NotJson, find_files, records_of
from tracetune.traces.readers.langfuse import LANGFUSE
from tracetune.traces.readers.langgraph import LANGGRAPH
from tracetune.traces.readers.langsmith import LANGSMITH
from tracetune.traces.readers.mapping import Mapped, load_mapping
from tracetune.traces.readers.messages import MESSAGES
from tracetune.traces.readers.mlflow import MLFLOW
from tracetune.traces.readers.otlp import OTLP
from tracetune.traces.readers.plain_spans import SPANS
from tracetune.traces.readers.stratus import STRATUS
from tracetune.traces.readers.tau2 import TAU2
from tracetune.traces.readers.tau_bench import TAU_BENCH
from tracetune.traces.readers.trajectory import TRAJECTORY
from tracetune.traces.redaction import Redactor

__all__ = ["FORMATS", "BadRecord", "read_traces"]

# The first whose shape a record has reads it: from the most telling shape to the least.
_READERS = (
    TAU2,
    TAU_BENCH,
    STRATUS,
    TRAJECTORY,
    OTLP,
    MLFLOW,
    LANGSMITH,
    LANGGRAPH,
    SPANS,
    CANONICAL,
    MESSAGES,
    LANGFUSE,
)
FORMATS = ("auto", *sorted(reader.name for reader in _READERS))
"""What `format` may be."""

_PROBE = 100
"""How many records of a file may be of no known format before the file is refused."""

_log = logging.getLogger(__name__)

OnBad = Callable[[BadRecord], None]
Source = str | os.PathLike[str] | Iterable[Any]
MappingSource = str | os.PathLike[str] | Mapping[str, Any]


def read_traces(
    source: Source,
    *,
    format: str = "auto",
    mapping: MappingSource | None = None,
    strict: bool = False,
    redactor: Redactor | None = None,
    on_bad: OnBad | None = None,
) -> Iterator[Trace]:
    """Return an iterator of the traces in `source`, files in sorted order, records in theirs.

    A record that cannot be used is set aside and never stops the run: it goes to `on_bad`,
    or to the log as a warning. Paths are looked up at once, files are read as the iterator goes.

    Args:
        source: A file, folder or glob; a list of those; or an iterable of records: canonical
            or foreign objects, lists of messages, traces. Files are JSON or JSON Lines, plain
            or gzip, or Parquet.
        format: One of `FORMATS`; "auto" tells by each record's shape.
        mapping: For records of any other shape: a YAML file, or what would stand in it, that
            says where each field of a trace is found.
        strict: Stop at the first record that cannot be used.
        redactor: Takes secrets out of every trace and counts them; one that looks for credentials
            when None, `Redactor.off()` for none at all.

    Raises:
        TraceError: `format` is not known, `mapping` is wrong, or nothing is at a path. While
            iterating: a file cannot be read or is in no known format. A file that was found
            in a folder or by a glob is set aside instead, unless all of them are of no use.
            With `strict`, anything that is set aside.
    """
    if format not in FORMATS:
        raise TraceError(f"format is {format!r}, expected one of {', '.join(FORMATS)}")
    if mapping is not None and format != "auto":
        raise TraceError(f"format is {format!r}, expected none beside a mapping")
    mapped = None if mapping is None else load_mapping(mapping)
    readers = [r for r in _READERS if format in ("auto", r.name)]
    redacting = redactor or Redactor()
    tell = _refuse if strict else on_bad or _warn

    def clean(bad: BadRecord) -> None:  # a reason may show what stood in the record
        tell(replace(bad, reason=redacting.text(bad.reason)))

    traces = _traces(source, _Reading([mapped.reader] if mapped else readers, clean))
    if mapped:
        traces = _telling_what_is_silent(traces, mapped)
    traces = map(redacting.trace, traces)
    return _stopping(traces) if strict else traces


def _traces(source: Source, reading: _Reading) -> Iterator[Trace]:
    if isinstance(source, str | os.PathLike):
        return reading.files(*find_files(source), str(source))
    if not isinstance(source, Iterable) or isinstance(source, bytes | bytearray):
        raise TraceError(f"source is {shown(source)}, expected a path or an iterable of records")
    if isinstance(source, list | tuple) and source and all(map(_is_path, source)):
        found = [(*find_files(path), str(path)) for path in source]
        return itertools.chain.from_iterable(reading.files(*each) for each in found)
    records = [source] if isinstance(source, Mapping) else source
    return reading.records(enumerate(records, 1), "records", None)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def _warn(bad: BadRecord) -> None:
    _log.warning("%s:%d was set aside: %s", bad.source, bad.position, bad.reason)


def _telling_what_is_silent(traces: Iterator[Trace], mapped: Mapped) -> Iterator[Trace]:
    yield from traces
    for name in mapped.silent():
        _log.warning("%s: %s gave nothing in any of %d records", mapped.name, name, mapped.rows)


class _RefusedError(Exception):
    """Carries a bad record past the readers, which set aside what they take for a wrong value."""

    def __init__(self, bad: BadRecord) -> None:
        super().__init__(bad)
        self.bad = bad


def _refuse(bad: BadRecord) -> None:
    raise _RefusedError(bad)


def _stopping(traces: Iterator[Trace]) -> Iterator[Trace]:
    try:
        yield from traces
    except _RefusedError as refused:
        bad = refused.bad
        raise TraceError(f"{bad.source}:{bad.position}: {bad.reason}") from None


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
            raise TraceError(
                f"{source}: holds no .json, .jsonl, .ndjson (gzipped or not) or .parquet file"
            )
        if len(useless) == len(paths):
            more = f" ({len(paths)} files, none can be used)" if len(paths) > 1 else ""
            raise TraceError(f"{useless[0]}{more}")

    def file(self, path: Path) -> Iterator[Trace]:
        """Yield the traces of one file."""
        records = records_of(path)
        head: list[tuple[int, Any]] = []
        found = None
        for record in itertools.islice(records, _PROBE):
            head.append(record)
            if found := self._reader_of(record[1]):
                break  # what follows may be of any size, and is not held
        if head and found is None:
            raise TraceError(f"{path}: is in no known format, expected {self.expected()}")
        yield from self.records(itertools.chain(head, records), str(path), path, found)

    def records(
        self,
        records: Iterable[tuple[int, Any]],
        source: str,
        path: Path | None,
        found: Reader | None = None,
    ) -> Iterator[Trace]:
        """Yield the traces of records; one of unclear shape is read as all others are."""
        one = _Records(self, source, path)
        if found is not None:
            one.known.add(found.name)
        for position, record in records:
            if isinstance(record, Trace):
                yield record
            elif isinstance(record, NotJson):
                one.set_aside(position, record.reason)
            elif reader := self._reader_of(record):
                one.known |= {reader.name} if path else set()  # data in memory may mix formats
                yield from one.read(reader, position, record)
            else:
                yield from one.unclear(position, record)
        for gathered in one.gatherer.rest():
            yield from one.whole(gathered)

    def expected(self) -> str:
        """Return what a record may be."""
        names = ", ".join(reader.name for reader in self.readers)
        return names if len(self.readers) == 1 else f"{names}; others need a mapping"

    def _reader_of(self, record: Any) -> Reader | None:
        if isinstance(record, NotJson | Trace):
            return None
        return next((reader for reader in self.readers if reader.matches(record)), None)


class _Records:
    """The records of one file, or those given as data."""

    def __init__(self, reading: _Reading, source: str, path: Path | None) -> None:
        self.reading = reading
        self.source = source
        self.path = path
        self.known: set[str] = set()
        self.gatherer = Gatherer()

    def set_aside(self, position: int, reason: str) -> None:
        self.reading.on_bad(BadRecord(self.source, position, reason))

    def read(self, reader: Reader, position: int, record: Any) -> Iterator[Trace]:
        """Yield what a record gives: its traces, or those its parts make room for."""
        if reader.parts is None:
            yield from self.whole(Gathered(reader, position, record))
            return
        try:
            for key, part in reader.parts(record):
                self.keep(reader, position, key, part)
                while self.gatherer.is_full:
                    yield from self.whole(self.gatherer.take())
        except UNUSABLE as error:
            self.set_aside(position, reason_of(error))

    def keep(self, reader: Reader, position: int, key: str, part: Any) -> None:
        """Add a part to those of its trace, if that is still open."""
        try:
            self.gatherer.add(reader, key, part, position)
        except TooLateError as late:
            self.set_aside(position, str(late))

    def unclear(self, position: int, record: Any) -> Iterator[Trace]:
        """Yield the traces of a record that has no known shape."""
        readers = self.reading.readers
        if isinstance(record, Mapping | list | tuple):
            likely = readers if len(readers) == 1 else [r for r in readers if r.name in self.known]
            if len(likely) == 1:
                yield from self.read(likely[0], position, record)
                return
        is_object = isinstance(record, Mapping)
        found = shown(sorted(map(str, record)), 80) if is_object else type(record).__name__
        expected = self.reading.expected()
        self.set_aside(position, f"{found} is in no known format, expected {expected}")

    def whole(self, gathered: Gathered) -> Iterator[Trace]:
        """Yield the traces of a record, or of all parts of one trace."""
        position = gathered.position
        context = Context(
            self.path, lambda reason: self.set_aside(position, reason), self.reading.memo
        )
        try:
            yield from gathered.reader.read(gathered.record, context)
        except UNUSABLE as error:
            self.set_aside(position, reason_of(error))
