"""The tables of parts as views of one database, and questions to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracetune.traces.analytics.load import TABLES, put, sql_text, write
from tracetune.traces.analytics.partials import grouped
from tracetune.traces.analytics.sample import Sample

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "Double",
    "agent_sums",
    "columns_of",
    "connect_views",
    "doubles_of",
    "group_runs",
    "rows_of",
    "write_kept",
]

Double = tuple[str, str, str]
"""Folder of a part, agent and id of a run that counts in an earlier part."""


def connect_views(
    db: DuckDBPyConnection, folders: Sequence[Path], doubles: Sequence[Double] = ()
) -> None:
    """Define runs, calls, labels and kept as those of all parts together, without doubles."""
    if doubles:
        columns = zip(("folder", "agent", "trace_id"), zip(*doubles, strict=True), strict=True)
        put(db, "doubles", {name: ("VARCHAR", values) for name, values in columns})
    for name in (*TABLES, "kept"):
        paths = ", ".join(f"'{_quoted(folder / f'{name}.parquet')}'" for folder in folders)
        query = f"SELECT * FROM read_parquet([{paths}])"
        if doubles:
            query = (
                "SELECT t.* EXCLUDE (filename)"
                f" FROM read_parquet([{paths}], filename = true) AS t WHERE NOT EXISTS ("
                "SELECT 1 FROM doubles AS d WHERE d.trace_id = t.trace_id AND d.agent = t.agent"
                f" AND t.filename = CONCAT(d.folder, '/{name}.parquet'))"
            )
        db.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")


def doubles_of(db: DuckDBPyConnection, folders: Sequence[Path]) -> list[Double]:
    """The runs that an earlier part has too, by the order of the folders."""
    places = {str(folder / "runs.parquet"): place for place, folder in enumerate(folders)}
    rows = rows_of(db, "shared_runs", {"paths": list(places)})
    first: dict[tuple[str, str], str] = {}
    doubles: list[Double] = []
    for row in sorted(rows, key=lambda row: places[row["filename"]]):
        run = row["agent"], row["trace_id"]
        if first.setdefault(run, row["filename"]) != row["filename"]:
            doubles.append((str(Path(row["filename"]).parent), *run))
    return doubles


def agent_sums(db: DuckDBPyConnection) -> dict[str, tuple[int, int]]:
    """How many runs each agent has, and the sum of their digests."""
    return {row["agent"]: (row["runs"], int(row["digest"])) for row in rows_of(db, "agent_sums")}


def group_runs(db: DuckDBPyConnection, by: Sequence[str]) -> None:
    """Define the view `grouped`: the runs, with a text `grp` of their values of `by`."""
    db.execute(f"CREATE OR REPLACE TEMP VIEW grouped AS {grouped(by)}")


def rows_of(
    db: DuckDBPyConnection, name: str, values: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The rows of `traces/sql/<name>.sql`, as dicts by column name."""
    cursor = db.execute(sql_text(name), values or {})
    columns = [column[0] for column in cursor.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def columns_of(
    db: DuckDBPyConnection, name: str, values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The columns of `traces/sql/<name>.sql` as arrays, masked where unknown."""
    return dict(db.execute(sql_text(name), values or {}).fetchnumpy())


def write_kept(db: DuckDBPyConnection, sample: Sample, path: Path, *, lasting: bool) -> None:
    """Write the runs that are kept whole, each as its line of JSON."""
    import numpy as np

    runs = list(sample.runs())
    columns = {
        "agent": [_utf8(run.agent) for run in runs],
        "success": [run.success for run in runs],
        "mark": [run.mark for run in runs],
        "trace_id": [_utf8(run.id) for run in runs],
        "line": [run.line.decode("utf-8", "replace") for run in runs],
        "sampled": [run.sampled for run in runs],
        "commented": [run.commented for run in runs],
    }
    # As parameters they would take three times as long.
    db.register("keeping", {name: np.array(rows, dtype=object) for name, rows in columns.items()})
    write(db, sql_text("flat_kept"), path, {}, lasting=lasting)
    db.unregister("keeping")


def _utf8(text: str) -> str:
    # As the tables have it: a lone surrogate is no valid UTF-8.
    return text.encode("utf-8", "replace").decode()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
