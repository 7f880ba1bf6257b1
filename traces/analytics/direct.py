"""Tell which canonical JSON Lines files DuckDB may read by itself, without traces as objects.

DuckDB takes "12" for a number, and passes over keys it was not told of and text where an object
should be. So each line is also decoded here against the exact types, which is cheap in msgspec:
a file with any line that the canonical reader would refuse, or read as anything else than it
says, is left to that reader as a whole. Import it where it is used: msgspec takes a moment.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any, Literal, cast

import msgspec

__all__ = ["LINE_MAX", "OddLineError", "checked_lines"]

LINE_MAX = 8 << 20
"""Longer lines go the other way: DuckDB's buffers for them need to be planned."""

_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Size = Annotated[float, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class OddLineError(Exception):
    """The file is not plainly canonical JSON Lines; `read_traces` knows what to do with it."""


class _Strict(msgspec.Struct, forbid_unknown_fields=True, gc=False):
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
    latency_s: _Size | None = None
    by: Literal["agent", "user"] | None = None
    agent: str | None = None


class _Row(_Strict):
    id: _Name
    agent: _Name
    release: str | None = None
    task: str | None = None
    started_at: datetime | None = None
    latency_s: _Size | None = None
    success: bool | None = None
    score: float | None = None
    feedback: str | dict[str, Any] | None = None
    steps: list[_Message | _Thought | _Call] | None = None
    attempts: _Count | None = None
    turns: _Count | None = None
    tokens_in: _Count | None = None
    tokens_out: _Count | None = None
    cost_usd: _Size | None = None
    failure_kind: Literal["agent", "user", "infrastructure", "unknown"] | None = None
    labels: dict[str, str] | None = None


_decode = msgspec.json.Decoder(_Row).decode


def checked_lines(path: Path) -> Iterator[tuple[bytes, str, str, bool | None]]:
    """Yield (line, id, agent, success) of every line that is not blank, plain or gzip.

    Raises:
        OddLineError: A line is not exactly what `Trace.to_dict` could have written.
    """
    try:
        with _open(path) as file:
            for line in file:
                if len(line) > LINE_MAX:
                    raise OddLineError
                if not line.isspace():
                    row = _decode(line)
                    yield line, row.id, row.agent, row.success
    except (EOFError, OSError, RecursionError, ValueError) as error:
        raise OddLineError from error  # ValueError: what msgspec and a broken gzip raise


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if packed else path.open("rb", buffering=1 << 20)
