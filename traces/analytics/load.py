"""Put canonical JSON Lines into flat tables, as Parquet files that any engine reads."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracetune.traces.analytics.errors_text import IDS, NUMBERS, error_key
from tracetune.traces.failures import CRASH_TEXTS, REFUSAL_TEXTS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "LINE",
    "STAGED",
    "TABLES",
    "connect",
    "flatten",
    "fold",
    "put",
    "shown_texts",
    "sql_text",
    "write",
]

STAGED = "staged.parquet"
"""Where `flatten` writes to."""

KEPT_LINES = "kept.parquet"
"""Where the runs are that are kept whole."""

LINE = 2 << 20
"""Bytes of a line that `flatten` needs not be told of."""

TABLES = ("runs", "calls", "labels")

# Arguments are read as the text of their JSON: as JSON they would be copied once more.
_STEP = (
    'STRUCT(kind VARCHAR, role VARCHAR, text VARCHAR, name VARCHAR, "by" VARCHAR, arguments JSON,'
    " result VARCHAR, error VARCHAR, latency_s DOUBLE)"
)
_COLUMNS = {
    "id": "VARCHAR",
    "agent": "VARCHAR",
    "release": "VARCHAR",
    "task": "VARCHAR",
    "success": "BOOLEAN",
    "score": "DOUBLE",
    "latency_s": "DOUBLE",
    "attempts": "BIGINT",
    "turns": "BIGINT",
    "tokens_in": "BIGINT",
    "tokens_out": "BIGINT",
    "cost_usd": "DOUBLE",
    "failure_kind": "VARCHAR",
    "feedback": "JSON",
    "labels": "MAP(VARCHAR, VARCHAR)",
    "steps": f"{_STEP}[]",
}
_PLANNED = 16 << 20
_MEMORY = 600 << 20


def connect(spill: Path, *, longest: int = 0) -> DuckDBPyConnection:
    """An empty DuckDB in this process, which holds little and spills to the folder `spill`."""
    import duckdb  # not at the top: it would slow the start of every command

    return duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": f"{(_MEMORY + 8 * longest) >> 20}MB",
            "preserve_insertion_order": False,
            "temp_directory": str(spill),
        },
    )


def flatten(
    db: DuckDBPyConnection, lines: Sequence[Path], staged: Path, *, longest: int = 0
) -> None:
    """Read the runs of canonical JSON Lines files into one Parquet file, their calls as lists.

    Args:
        longest: Bytes of the longest line, where it may be over 2 MB: buffers are as large, so that
            small files are read by more than one thread.

    Raises:
        duckdb.Error: Not all lines are JSON, or one is longer.
    """
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in _COLUMNS.items())
    query = sql_text("flatten").replace("$columns", f"{{{columns}}}")
    if longest >= _PLANNED:
        db.execute(f"SET memory_limit = '{(_MEMORY + 8 * longest) >> 20}MB'")
    values = {
        "path": [str(path) for path in lines],
        "line_max": max(LINE, longest + 1),
        "crash": CRASH_TEXTS,
        "refusal": REFUSAL_TEXTS,
    }
    write(db, query, staged, values, lasting=False)


def shown_texts(db: DuckDBPyConnection, staged: Path) -> list[str]:
    """Every different text of the staged runs that the tables show: tasks, labels, errors."""
    values = {"staged": str(staged)}
    db.execute(
        f"CREATE OR REPLACE TEMP TABLE error_texts AS {sql_text('error_texts')}",
        values | {"ids": IDS, "numbers": NUMBERS},
    )
    found = db.execute(
        "SELECT error FROM error_texts UNION SELECT task FROM read_parquet($staged) UNION"
        " SELECT l.value FROM (SELECT unnest(labels_list) AS l FROM read_parquet($staged))",
        values,
    )
    return [text for (text,) in found.fetchall() if text]


def fold(db: DuckDBPyConnection, staged: Path, folder: Path, *, lasting: bool) -> None:
    """Write the three tables of the staged runs, whose `shown_texts` were asked for before.

    Args:
        lasting: Whether they are to be small, rather than soon there.
    """
    shrunk = [row[0] for row in db.execute("SELECT DISTINCT shrunk FROM error_texts").fetchall()]
    keys = {"shrunk": ("VARCHAR", shrunk), "error_key": ("VARCHAR", list(map(error_key, shrunk)))}
    put(db, "shrunk_keys", keys)
    db.execute(
        "CREATE OR REPLACE TEMP TABLE error_keys AS"
        " SELECT error, error_key FROM error_texts JOIN shrunk_keys USING (shrunk)"
    )
    for table in TABLES:
        path = folder / f"{table}.parquet"
        write(db, sql_text(f"flat_{table}"), path, {"staged": str(staged)}, lasting=lasting)


def write(
    db: DuckDBPyConnection, query: str, path: Path, values: Mapping[str, Any], *, lasting: bool
) -> None:
    """Write what the query finds as Parquet; small where it is lasting."""
    how = f"COMPRESSION {'zstd' if lasting else 'snappy'}"
    if path.name == STAGED:  # read right away, a row group to a thread
        how = "COMPRESSION uncompressed, ROW_GROUP_SIZE 16384"
    elif path.name == KEPT_LINES and not lasting:  # whole lines, no two of which are alike
        how = "COMPRESSION uncompressed, DICTIONARY_SIZE_LIMIT 1, ROW_GROUP_SIZE 4096"
    quoted = str(path).replace("'", "''")
    db.execute(f"COPY ({query}) TO '{quoted}' (FORMAT parquet, {how})", values)


def put(
    db: DuckDBPyConnection, table: str, columns: Mapping[str, tuple[str, Sequence[Any]]]
) -> None:
    """Replace a small helper table: column name → (SQL type, values), equally long."""
    spec = ", ".join(f"{name} {kind}" for name, (kind, _) in columns.items())
    db.execute(f"CREATE OR REPLACE TEMP TABLE {table} ({spec})")
    params = {name: list(values) for name, (_, values) in columns.items()}
    if any(params.values()):
        rows = ", ".join(f"unnest(${name})" for name in columns)
        db.execute(f"INSERT INTO {table} SELECT {rows}", params)


@functools.cache
def sql_text(name: str) -> str:
    """The text of `traces/sql/<name>.sql`."""
    return files("tracetune.traces.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")
