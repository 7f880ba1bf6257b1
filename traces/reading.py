"""One reading of a source: its records, each by the reader of its format."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from tracetune.errors import TraceError
from tracetune.traces.gather import Gathered, Gatherer, TooLateError
from tracetune.traces.model import Trace
from tracetune.traces.readers.base import (
    UNUSABLE,
    BadRecord,
    Context,
    Reader,
    beyond,
    looks_said,
    reason_of,
    shown,
)
from tracetune.traces.readers.files import NotJson, records_of

__all__ = ["OnBad", "Reading"]

OnBad = Callable[[BadRecord], None]

_LISTS = {"data", "items", "observations", "runs", "traces"}
_PAGE = _LISTS | {
    "cursors", "first_id", "has_more", "last_id", "meta", "next_cursor", "next_page_token",
    "object", "parsed_query", "search_cursors", "total",
}  # fmt: skip
"""Keys of a page of an API's list: Langfuse's, LangSmith's, MLflow's, OpenAI's."""

_PROBE = 100
"""How many records of a file may be of no known format before the file is refused."""


class Reading:
    """One call of `read_traces`: the readers it may use and where its bad records go."""

    def __init__(self, readers: list[Reader], on_bad: OnBad) -> None:
        self.readers = readers
        self.on_bad = on_bad
        self.memo: dict[Path, Any] = {}
        self.place: tuple[str, int] = ("", 0)
        """Where the trace stands that was given last: its source, and the record's position."""
        self.nameless: Counter[str] = Counter()
        """As `Context.nameless`, of the file that is read."""

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
        records = self._without_pages(records_of(path))
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
        self.nameless.clear()
        if found is not None:
            one.known.add(found.name)
        for position, record in self._without_pages(records):
            record = _as_data(record)
            if isinstance(record, Trace):
                yield from one.within_range(position, record)
            elif isinstance(record, NotJson):
                one.set_aside(position, record.reason)
            elif reader := self._reader_of(record):
                if path:  # data in memory may mix formats
                    one.known.add(reader.name)
                yield from one.read(reader, position, record)
            else:
                yield from one.unclear(position, record)
        for gathered in one.gatherer.rest():
            yield from one.whole(gathered)

    def expected(self) -> str:
        """Return what a record may be."""
        names = ", ".join(reader.name for reader in self.readers)
        return names if len(self.readers) == 1 else f"{names}; others need a mapping"

    def _without_pages(self, records: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """Yield the records, and those of an API's page each by its place in that."""
        for position, record in records:
            items = _page(record)
            if not items or self._reader_of(record):
                yield position, record
            else:
                yield from enumerate(items, 1)

    def _reader_of(self, record: Any) -> Reader | None:
        if type(record) is not dict and isinstance(record, NotJson | Trace):
            return None
        for reader in self.readers:
            if reader.matches(record):
                return reader
        return None


def _page(record: Any) -> list[Any] | None:
    """Return what a page of an API's list holds, such as Langfuse's `{"data": [], "meta": {}}`."""
    if type(record) is not dict or not record.keys() <= _PAGE or len(record.keys() & _LISTS) != 1:
        return None
    [items] = (record[name] for name in record.keys() & _LISTS)
    return items if isinstance(items, list) and all(type(item) is dict for item in items) else None


def _as_data(record: Any) -> Any:
    """Return a client's object, such as LangSmith's `Run`, as JSON data; all else as it is."""
    if type(record) in (dict, list) or isinstance(record, str | Trace | NotJson | Mapping):
        return record
    if isinstance(record, list | tuple | type) or looks_said(record):
        return record
    with contextlib.suppress(*UNUSABLE):
        if dataclasses.is_dataclass(record) and not isinstance(record, type):
            return _plain(dataclasses.asdict(record))
        for name in ("model_dump", "to_dict", "dict"):
            if callable(dump := getattr(record, name, None)):
                return _plain(dump())
    return record


def _plain(value: Any) -> Any:
    """Return a value as it comes back from its JSON."""
    return orjson.loads(orjson.dumps(value, default=_told, option=orjson.OPT_NON_STR_KEYS))


def _told(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump() if callable(dump) else str(value)


class _Records:
    """The records of one file, or those given as data."""

    def __init__(self, reading: Reading, source: str, path: Path | None) -> None:
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
        reading = self.reading
        context = Context(
            self.path,
            lambda reason: self.set_aside(position, reason),
            reading.memo,
            reading.nameless,
        )
        try:
            for trace in gathered.reader.read(gathered.record, context):
                yield from self.within_range(position, trace)
        except UNUSABLE as error:
            self.set_aside(position, reason_of(error))

    def within_range(self, position: int, trace: Trace) -> Iterator[Trace]:
        """Yield the trace, unless its latency or cost is one that no run has."""
        if reason := beyond(trace):
            self.set_aside(position, reason)
        else:
            self.reading.place = self.source, position
            yield trace
