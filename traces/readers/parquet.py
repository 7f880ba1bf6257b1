"""Rows of a Parquet file as JSON objects, as trace exports keep them."""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tracetune.errors import TraceError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["parquet_records"]

_BATCH = 1000


def parquet_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (position, row) of a Parquet file, in file order, from 1.

    Text that holds a JSON object or list is parsed: exports keep nested values so. Times become
    ISO 8601 text (without an offset, in UTC where the file has a zone), decimals numbers, ids text,
    and NaN null.

    Raises:
        TraceError: The file cannot be read.
    """
    import duckdb  # not at the top: it would slow the start of every command

    try:
        with duckdb.connect(":memory:", config={"threads": 1}) as db:
            rows = db.execute(f"SELECT {_columns(db, path)} FROM read_parquet(?)", [str(path)])
            names = [column[0] for column in rows.description or ()]
            position = 0
            while batch := rows.fetchmany(_BATCH):
                for values in batch:
                    position += 1
                    yield position, dict(zip(names, map(_plain, values), strict=True))
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise TraceError(f"{path}: cannot be read as Parquet: {reason}") from error


def _columns(db: DuckDBPyConnection, path: Path) -> str:
    """Return what to select: times with a zone as those in UTC, for Python's need pytz."""
    told = db.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    zoned = [name for name, kind, *_ in told if kind == "TIMESTAMP WITH TIME ZONE"]
    names = ['"{}"'.format(name.replace('"', '""')) for name in zoned]
    made = ", ".join(f"make_timestamp(epoch_us({name})) AS {name}" for name in names)
    return f"* REPLACE ({made})" if made else "*"


def _plain(value: Any) -> Any:
    match value:
        case str():
            return _parsed(value)
        case float():
            return value if math.isfinite(value) else None
        case datetime.datetime() | datetime.date():
            return value.isoformat()
        case decimal.Decimal():
            return float(value)
        case uuid.UUID():
            return str(value)
        case list():
            return [_plain(one) for one in value]
        case dict():
            return {str(key): _plain(one) for key, one in value.items()}
        case bytes():
            return value.decode(errors="replace")
    return value


def _parsed(value: str) -> Any:
    if value[:1] in ("{", "["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value
