"""Find trace files, and take the records out of them, whatever they are named."""

from __future__ import annotations

import contextlib
import glob
import gzip
import io
import itertools
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tracetune.errors import TraceError
from tracetune.traces.readers.base import shown
from tracetune.traces.readers.json_values import NoJsonError, NotJson, json_values

__all__ = ["NotJson", "find_files", "json_records", "records_of"]

_CONTENT = re.compile(r'\n|^\s*[{\[].*"')
_SUFFIXES = (".json", ".jsonl", ".ndjson")
_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"

Records = Iterator[tuple[int, Any]]


def find_files(source: str | os.PathLike[str]) -> tuple[list[Path], bool]:
    """Return the files a path, folder or glob stands for, sorted; and whether it names one file.

    A folder means every .json, .jsonl and .ndjson file below it, gzipped or not, and every
    .parquet file, save hidden ones.

    Raises:
        TraceError: Nothing is there, or it is no path but what stands in a file.
    """
    path = Path(source).expanduser()
    if _CONTENT.search(str(source)) and not os.path.lexists(path):
        raise TraceError("The path is JSON or lines of text, expected a file, folder or glob")
    try:
        if path.is_dir():
            return _in_folder(path), False
        if path.exists():
            return [path], True
    except OSError as error:  # a name too long, a folder that lets nobody in
        raise TraceError(f"{shown(str(source))}: {error.strerror}, expected traces there") from None
    if not glob.has_magic(str(path)):
        raise TraceError(f"{source}: no such file or folder, expected traces there")
    hits = glob.glob(str(path), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute one)
    found = sorted(Path(hit) for hit in hits)
    if not found:
        raise TraceError(f"{source}: matches no file, expected traces there")
    files = itertools.chain.from_iterable(_in_folder(p) if p.is_dir() else [p] for p in found)
    return list(dict.fromkeys(files)), False


def records_of(path: Path) -> Records:
    """Yield (position, JSON value or NotJson) of a file: Parquet, or as `json_records` does.

    Raises:
        TraceError: The file cannot be read, or holds neither Parquet, JSON nor JSON Lines.
    """
    if _is_parquet(path):
        from tracetune.traces.readers.parquet import parquet_records

        return parquet_records(path)
    return json_records(path)


def _is_parquet(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:  # whoever reads it tells
        return file.read(len(_PARQUET)) == _PARQUET
    return False


def json_records(path: Path) -> Records:
    """Yield (position, JSON value or NotJson) of a file, plain or gzip.

    JSON Lines are read line by line, and the position is the line. Else the file is one JSON
    value: a list yields its items by index, anything else itself at 1. Positions count from 1.
    What a torn gzip file still gives is yielded; where it breaks off stands a `NotJson`.

    Raises:
        TraceError: The file cannot be read, or is neither JSON nor JSON Lines.
    """
    try:
        with _open(path) as (file, raw):
            yield from _until_torn(json_values(file), raw, path)
    except NoJsonError as error:
        raise TraceError(f"{path}: is neither JSON nor JSON Lines: {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        named = " as gzip" if path.suffix == ".gz" or isinstance(error, gzip.BadGzipFile) else ""
        why = getattr(error, "strerror", None) or error
        raise TraceError(f"{path}: cannot be read{named}: {why}") from error


def _in_folder(folder: Path) -> list[Path]:
    def wanted(path: Path) -> bool:
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        known = path.suffix == ".parquet" or path.name.removesuffix(".gz").endswith(_SUFFIXES)
        return known and not hidden and path.is_file()

    return sorted(path for path in folder.rglob("*") if wanted(path))


class _Unpacked(io.RawIOBase):
    """A gzip file that ends where it is torn, and remembers why."""

    torn: Exception | None = None

    def __init__(self, packed: gzip.GzipFile) -> None:
        self._packed = packed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.torn is None:
            try:
                # One block at a time: more, and an error would take those before it along.
                block = self._packed.read1(len(buffer))
                buffer[: len(block)] = block
                return len(block)
            except (EOFError, OSError, zlib.error) as error:
                self.torn = error
        return 0


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[BinaryIO, _Unpacked | None]]:
    with path.open("rb") as raw:
        packed = raw.peek(2)[:2] == _GZIP
        if path.suffix == ".gz" and not packed and raw.peek(1):
            raise gzip.BadGzipFile("it does not begin as gzip does")
        if not packed:
            yield raw, None
            return
        with gzip.open(raw) as unpacked:
            source = _Unpacked(unpacked)
            yield io.BufferedReader(source, 2**17), source


def _until_torn(values: Records, source: _Unpacked | None, path: Path) -> Records:
    """Yield the values; where the file turns out to be torn, that instead of half a value."""
    last: tuple[int, Any] | None = None
    try:
        for value in values:
            if last is not None:
                yield last
            last = value
    except NoJsonError:
        if source is None or source.torn is None:
            raise
    torn = None if source is None else source.torn
    if torn is not None and last is None:
        raise torn
    if last is not None and not (torn and isinstance(last[1], NotJson)):
        yield last
    if last is not None and torn is not None:
        position = last[0] if isinstance(last[1], NotJson) else last[0] + 1
        yield position, NotJson(f"the file cannot be read as gzip from here on: {torn}")
