"""Read traces of any known format from files, folders, globs or data in memory."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace
from typing import Any, TypeVar

from tracetune.errors import TraceError
from tracetune.traces.model import Trace
from tracetune.traces.readers.base import BadRecord, Reader, shown
from tracetune.traces.readers.canonical import CANONICAL
from tracetune.traces.readers.files import find_files
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
from tracetune.traces.reading import OnBad, Reading
from tracetune.traces.redaction import Redactor

__all__ = [
    "FORMATS",
    "BadRecord",
    "ReadTraces",
    "given_traces",
    "paths_or_records",
    "read_traces",
    "readers_for",
    "redacted",
    "silence",
]

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

_log = logging.getLogger(__name__)

Given = TypeVar("Given")
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
) -> ReadTraces:
    """Return an iterator of the traces in `source`, files in sorted order, records in theirs.

    A record that cannot be used is set aside and never stops the run: it goes to `on_bad`,
    or to the log as a warning. Paths are looked up at once, but for those that another iterator
    gives; files are read as the iterator goes.

    Args:
        source: A file, folder or glob; a list, tuple or set of those; any other iterable of
            `os.PathLike`; or an iterable of records: canonical or foreign objects, lists of
            messages, traces. Text that a generator or an open file gives is no path. Files are
            JSON or JSON Lines, plain or gzip, or Parquet.
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
    readers, mapped = readers_for(format, mapping)
    redacting = redactor or Redactor()
    tell = _refuse if strict else on_bad or _warn
    reading = Reading(readers, redacted(tell, redacting))
    traces = _later(source, reading) if isinstance(source, Iterator) else _traces(source, reading)
    if mapped:
        traces = _telling_what_is_silent(traces, mapped)
    traces = map(redacting.trace, traces)
    return ReadTraces(_stopping(traces) if strict else traces, reading, strict=strict)


class ReadTraces(Iterator[Trace]):
    """The traces of `read_traces`, which know where the last one that was given stands."""

    def __init__(self, traces: Iterator[Trace], reading: Reading, *, strict: bool) -> None:
        self._traces = traces
        self._reading = reading
        self.strict = strict
        """Whether nothing may be set aside."""

    def __next__(self) -> Trace:
        return next(self._traces)

    @property
    def place(self) -> tuple[str, int]:
        """The file, or "records", and the position in it, as those of a `BadRecord`."""
        return self._reading.place


def readers_for(format: str, mapping: MappingSource | None) -> tuple[list[Reader], Mapped | None]:
    """Return the readers that `read_traces` uses, and the mapping where that is the one.

    Raises:
        TraceError: `format` is not known, or `mapping` is wrong.
    """
    if format not in FORMATS:
        raise TraceError(f"format is {format!r}, expected one of {', '.join(FORMATS)}")
    if mapping is None:
        return [reader for reader in _READERS if format in ("auto", reader.name)], None
    if format != "auto":
        raise TraceError(f"format is {format!r}, expected none beside a mapping")
    mapped = load_mapping(mapping)
    return [mapped.reader], mapped


def redacted(tell: OnBad, redactor: Redactor) -> OnBad:
    """Return what tells of bad records without secrets: a reason may show what stood in one."""
    return lambda bad: tell(replace(bad, reason=redactor.text(bad.reason)))


def silence(name: str, field: str, rows: int) -> None:
    """Warn that a field of a mapping was null in all the records there were."""
    _log.warning("%s: %s gave nothing in any of %d records", name, field, rows)


def given_traces(
    traces: Iterable[Given], kinds: type | tuple[type, ...] = Trace
) -> Iterator[Given]:
    """Yield the traces.

    Args:
        kinds: What counts as one.

    Raises:
        TraceError: They are none: a path, say, or records.
    """
    if not isinstance(traces, Iterable) or isinstance(traces, str | Mapping):
        raise TraceError(f"traces is {shown(traces)}, expected those that read_traces gives")
    for index, trace in enumerate(traces, 1):
        if not isinstance(trace, kinds):
            raise TraceError(
                f"records:{index}: {shown(trace)} is no trace, expected what read_traces gives"
            )
        yield trace


def paths_or_records(source: Source) -> tuple[list[str | os.PathLike[str]], Iterable[Any]]:
    """Return the paths that a source names, those of a set sorted; or else its records.

    Raises:
        TraceError: It is neither a path nor an iterable.
    """
    if isinstance(source, str | os.PathLike):
        return [source], ()
    if not isinstance(source, Iterable) or isinstance(source, bytes | bytearray):
        raise TraceError(f"source is {shown(source)}, expected a path or an iterable of records")
    if isinstance(source, Mapping):
        return [], [source]
    # Text from any other iterable may be a line of an open file, or never end.
    path = str | os.PathLike if isinstance(source, list | tuple | Set) else os.PathLike
    rest = iter(source)
    paths: list[Any] = []
    for item in rest:
        if not isinstance(item, path):
            return [], itertools.chain(paths, [item], rest)
        paths.append(item)
    return sorted(paths, key=str) if isinstance(source, Set) else paths, ()


def _traces(source: Source, reading: Reading) -> Iterator[Trace]:
    paths, records = paths_or_records(source)
    if not paths:
        return reading.records(enumerate(records, 1), "records", None)
    found = [(*find_files(path), str(path)) for path in paths]
    return itertools.chain.from_iterable(reading.files(*each) for each in found)


def _later(source: Iterator[Any], reading: Reading) -> Iterator[Trace]:
    yield from _traces(source, reading)  # whoever reads lazily takes nothing before it is asked


def _warn(bad: BadRecord) -> None:
    _log.warning("%s:%d was set aside: %s", bad.source, bad.position, bad.reason)


def _telling_what_is_silent(traces: Iterator[Trace], mapped: Mapped) -> Iterator[Trace]:
    yield from traces
    for name in mapped.silent():
        silence(mapped.name, name, mapped.rows)


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
