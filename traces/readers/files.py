"""Find trace files, and take the JSON values out of them, whatever they are named."""

from __future__ import annotations

import contextlib
import glob
import gzip
import itertools
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from tracetune.errors import TraceError
from tracetune.traces.readers.base import looks_said

__all__ = ["NotJson", "find_files", "json_records"]

_SUFFIXES = (".json", ".jsonl", ".ndjson")
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class NotJson:
    """Stands for a line that does not parse."""

    reason: str


def find_files(source: str | os.PathLike[str]) -> tuple[list[Path], bool]:
    """Return the files a path, folder or glob stands for, sorted; and whether it names one file.

    A folder means every .json, .jsonl and .ndjson file below it, gzipped or not, save hidden ones.

    Raises:
        TraceError: Nothing is there.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _in_folder(path), False
    if path.exists():
        return [path], True
    if not glob.has_magic(str(path)):
        raise TraceError(f"{source}: no such file or folder, expected traces there")
    hits = glob.glob(str(path), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute one)
    found = sorted(Path(hit) for hit in hits)
    if not found:
        raise TraceError(f"{source}: matches no file, expected traces there")
    files = itertools.chain.from_iterable(_in_folder(p) if p.is_dir() else [p] for p in found)
    return list(dict.fromkeys(files)), False


def json_records(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (position, JSON value or NotJson) of a file, plain or gzip.

    JSON Lines are read line by line, and the position is the line. Else the file is one JSON
    value: a list yields its items by index, anything else itself at 1. Positions count from 1.

    Raises:
        TraceError: The file cannot be read, or is neither JSON nor JSON Lines.
    """
    try:
        with _open(path) as file:
            yield from _records(file, path)
    except (OSError, EOFError, zlib.error) as error:
        named = " as gzip" if path.suffix == ".gz" or isinstance(error, gzip.BadGzipFile) else ""
        why = getattr(error, "strerror", None) or error
        raise TraceError(f"{path}: cannot be read{named}: {why}") from error


def _in_folder(folder: Path) -> list[Path]:
    def wanted(path: Path) -> bool:
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        return not hidden and path.name.removesuffix(".gz").endswith(_SUFFIXES) and path.is_file()

    return sorted(path for path in folder.rglob("*") if wanted(path))


@contextlib.contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as raw:
        packed = raw.peek(2)[:2] == _GZIP
        if path.suffix == ".gz" and not packed and raw.peek(1):
            raise gzip.BadGzipFile("it does not begin as gzip does")
        if not packed:
            yield raw
            return
        with gzip.open(raw) as unpacked:
            yield BufferedReader(cast(Any, unpacked))


def _records(file: BinaryIO, path: Path) -> Iterator[tuple[int, Any]]:
    lines = ((n, line) for n, line in enumerate(_without_bom(file), 1) if line.strip())
    first, second = next(lines, None), next(lines, None)
    if first is None:
        return
    value = _parse(first[1])
    if second is None:
        if isinstance(value, NotJson):
            raise TraceError(f"{path}: is neither JSON nor JSON Lines: {value.reason}")
        yield from _items(value)
    elif isinstance(value, NotJson):
        # One value over many lines, or JSON Lines whose first line is broken.
        yield from _whole([first, second, *lines], path)
    else:
        for position, line in itertools.chain([first, second], lines):
            yield position, _parse(line)


def _whole(lines: list[tuple[int, bytes]], path: Path) -> Iterator[tuple[int, Any]]:
    value = _parse(b"".join(line for _, line in lines))
    if not isinstance(value, NotJson):
        yield from _items(value)
        return
    records = [(position, _parse(line)) for position, line in lines]
    if not any(isinstance(record, dict | list) for _, record in records):
        raise TraceError(f"{path}: is neither JSON nor JSON Lines: {value.reason}")
    yield from records


def _items(value: Any) -> Iterator[tuple[int, Any]]:
    # A list of messages is one run, not a list of runs.
    one_run = isinstance(value, list) and value and looks_said(value[0])
    return enumerate([value] if one_run or not isinstance(value, list) else value, 1)


def _without_bom(file: BinaryIO) -> Iterator[bytes]:
    for number, line in enumerate(file):
        yield line.removeprefix(_BOM) if number == 0 else line


def _parse(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        reason = f"not JSON: {error}"
    if b"NaN" in data or b"Infinity" in data:
        # Python's own writer makes these, though JSON has no such numbers.
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(data)
    return NotJson(reason)
