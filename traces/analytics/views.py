"""The tables of parts as views of one database, and questions to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tracetune.traces.analytics.load import TABLES, sql_text, write
from tracetune.traces.analytics.partials import grouped
from tracetune.traces.analytics.sample import Sample

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "Asked",
    "Double",
    "agent_sums",
    "columns_of",
    "connect_views",
    "doubles_of",
    "group_runs",
    "rows_of",
    "table_texts",
    "write_kept",
]

Double = tuple[str, str, str]
"""Folder of a part, agent and id of a run that counts in an earlier part."""


class Asked(Protocol):
    """What answers SQL: a DuckDB, or what stands before one."""

    def execute(self, query: str, values: Any, /) -> DuckDBPyConnection:
        """Run SQL with values by the names of its parameters."""
        ...


def table_texts(folders: Sequence[Path], *, without: bool = False) -> dict[str, str]:
    """SQL of runs, calls, labels and kept, by name: those of all parts together.

    Args:
        without: Leave out the runs in the table `doubles`.
    """
    texts = {}
    for name in (*TABLES, "kept"):
        paths = ", ".join(f"'{_quoted(folder / f'{name}.parquet')}'" for folder in folders)
        texts[name] = f"SELECT * FROM read_parquet([{paths}])"
        if without:
            texts[name] = (
                "SELECT t.* EXCLUDE (filename)"
                f" FROM read_parquet([{paths}], filename = true) AS t WHERE NOT EXISTS ("
                "SELECT 1 FROM doubles AS d WHERE d.trace_id = t.trace_id AND d.agent = t.agent"
                f" AND t.filename = CONCAT(d.folder, '/{name}.parquet'))"
            )
    return texts


def connect_views(db: DuckDBPyConnection, folders: Sequence[Path]) -> None:
    """Define runs, calls, labels and kept as those of all parts together."""
    for name, text in table_texts(folders).items():
        db.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {text}")


def doubles_of(db: Asked, folders: Sequence[Path]) -> list[Double]:
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


def agent_sums(db: Asked) -> dict[str, tuple[int, int]]:
    """How many runs each agent has, and the sum of their digests."""
    return {row["agent"]: (row["runs"], int(row["digest"])) for row in rows_of(db, "agent_sums")}


def group_runs(db: DuckDBPyConnection, by: Sequence[str]) -> None:
    """Define the view `grouped`: the runs, with a text `grp` of their values of `by`."""
    db.execute(f"CREATE OR REPLACE TEMP VIEW grouped AS {grouped(by)}")


def rows_of(db: Asked, name: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The rows of `traces/sql/<name>.sql`, as dicts by column name."""
    cursor = db.execute(sql_text(name), values or {})
    columns = [column[0] for column in cursor.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def columns_of(db: Asked, name: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
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
