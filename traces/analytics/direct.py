"""Tell which canonical JSON Lines files DuckDB may read by itself, without traces as objects.

DuckDB takes "12" for a number, and passes over keys it was not told of and text where an object
should be. So each line is also decoded here against the exact types, which is cheap in msgspec:
a file with any line that the canonical reader would refuse, or read as anything else than it
says, is left to that reader as a whole. Import it where it is used: msgspec takes a moment.
"""

from __future__ import annotations

import contextlib
import gzip
from array import array
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any, Literal, cast

import msgspec

from tracetune.traces.model import MAX_COST_USD, MAX_LATENCY_S

__all__ = [
    "LINE_MAX",
    "Lines",
    "OddLineError",
    "Row",
    "checked_lines",
    "decoded",
    "encoded",
    "is_packed",
]

LINE_MAX = 8 << 20
"""Longer lines go the other way: DuckDB's buffers for them need to be planned."""

_BLOCK = 1 << 20

_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_LATENCY_S)]
_Dollars = Annotated[float, msgspec.Meta(ge=0, le=MAX_COST_USD)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class OddLineError(Exception):
    """The file is not plainly canonical JSON Lines; `read_traces` knows what to do with it."""


class _Strict(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    pass


class _Message(_Strict, tag_field="kind", tag="message"):
    role: Literal["system", "user", "assistant"]
    text: str
    agent: str | None = None


class _Thought(_Strict, tag_field="kind", tag="thought"):
    text: str
    agent: str | None = None


class _Call(_Strict, tag_field="kind", tag="tool_call"):
    name: _Name
    arguments: dict[str, Any] | None = None
    result: str | None = None
    error: str | None = None
    started_at: datetime | None = None
    latency_s: _Seconds | None = None
    by: Literal["agent", "user"] | None = None
    agent: str | None = None


class Row(_Strict):
    """What a line holds."""

    id: _Name
    agent: _Name
    release: str | None = None
    task: str | None = None
    started_at: datetime | None = None
    latency_s: _Seconds | None = None
    success: bool | None = None
    score: float | None = None
    feedback: str | dict[str, Any] | None = None
    steps: list[_Message | _Thought | _Call] | None = None
    attempts: _Count | None = None
    turns: _Count | None = None
    tokens_in: _Count | None = None
    tokens_out: _Count | None = None
    cost_usd: _Dollars | None = None
    failure_kind: Literal["agent", "user", "infrastructure", "unknown"] | None = None
    labels: dict[str, str] | None = None


decoded = msgspec.json.Decoder(Row).decode
"""What a line holds, where it is exactly what `Trace.to_dict` could have written."""


encoded = msgspec.json.Encoder().encode
"""The line that holds what was decoded, and nothing else: a key may have been there twice."""


def checked_lines(path: Path) -> Iterator[tuple[bytes, Row]]:
    """Yield every line that is not blank, and what it holds, of a plain or gzip file.

    Raises:
        OddLineError: A line is not exactly what `Trace.to_dict` could have written.
    """
    with _told(), _open(path) as file:
        for line in file:
            if len(line) > LINE_MAX:
                raise OddLineError
            if not line.isspace():
                yield line, decoded(line)


class Lines:
    """Where the runs of a plain file stand; `len()` is how many there are.

    Raises:
        OddLineError: As `checked_lines`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = array("q")
        self._starts = array("q")
        self.longest = 0
        """Bytes of the longest line."""
        at = 0
        with _told(), _open(path) as file:
            for line in file:
                if len(line) > self.longest:
                    self.longest = len(line)
                    if self.longest > LINE_MAX:
                        raise OddLineError
                try:
                    row = decoded(line)
                except ValueError:
                    if not line.isspace():
                        raise
                else:
                    self._keys.append(hash((row.agent, row.id)))
                    self._starts.append(at)
                at += len(line)
        self._starts.append(at)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, keys: Collection[int]) -> Iterator[tuple[int, bytes]]:
        """Yield those of the keys that runs have, each the hash of (agent, id), and their lines.

        Raises:
            OddLineError: The file cannot be read any more.
        """
        with _told(), self._path.open("rb") as file:
            for place, key in enumerate(self._keys):
                if key in keys:
                    start = self._starts[place]
                    file.seek(start)
                    yield key, file.read(self._starts[place + 1] - start)


def is_packed(path: Path) -> bool:
    """Whether it is a gzip file.

    Raises:
        OddLineError: The file cannot be read.
    """
    with _told(), path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError, RecursionError, ValueError) as error:
        raise OddLineError from error  # ValueError: what msgspec and a broken gzip raise


def _open(path: Path) -> IO[bytes]:
    return (
        cast(IO[bytes], gzip.open(path)) if is_packed(path) else path.open("rb", buffering=_BLOCK)
    )
