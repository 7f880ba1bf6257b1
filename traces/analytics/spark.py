"""Traces as tables of a Spark cluster: the same readers in its workers, the same SQL on its tables.

Needs the extra `spark`, and Java 17 or later.
"""

from __future__ import annotations

import importlib
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracetune.errors import InputError, TraceError
from tracetune.traces.analytics.load import TABLES, sql_text
from tracetune.traces.analytics.orders import Order, answered
from tracetune.traces.analytics.partials import grouped
from tracetune.traces.analytics.parts import Part
from tracetune.traces.analytics.shelf import Shelf, parts_of
from tracetune.traces.analytics.sources import Source, Sources
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.readers.base import BadRecord
from tracetune.traces.redaction import Redactor

__all__ = ["SparkTables"]

Session = Any
"""A `pyspark.sql.SparkSession`: pyspark is too large to be there wherever types are checked."""
Frame = Any

_COUNTS = ("metric_counts", "known_runs")
_MADE = "CREATE OR REPLACE TEMP TABLE "
_TYPES = {"VARCHAR": "STRING", "HUGEINT": "DECIMAL(38, 0)"}


class SparkTables(TraceTables):
    """Traces as tables of Spark, for `compute_metrics` and `mine_patterns`; a context manager.

    Workers read whole files, each task a group of them, and leave Parquet tables in a folder. What
    is counted over all runs is counted by Spark; the bounded sample of whole runs, and questions
    about it, stay with the DuckDB of this process. `close` leaves the session as it is.
    """

    _spark: Session
    _held: dict[str, Frame]

    @classmethod
    def of(
        cls,
        spark: Session,
        source: Source,
        *,
        folder: Path,
        format: str = "auto",
        mapping: Any = None,
        strict: bool = False,
        on_bad: Callable[[BadRecord], None] | None = None,
        redactor: Redactor | None = None,
    ) -> SparkTables:
        """The traces of files; but for two the arguments are those of `TraceTables.read`.

        Args:
            spark: A session whose workers can import tracetune and see the files under the same
                paths.
            folder: One that this process and all workers share: the cache of `TraceTables.read`.

        Raises:
            TraceError: As `read_traces`; or the source is data in memory.
            InputError: The extra `spark` is not installed.
        """
        _check_installed()
        tables = cls.__new__(cls)
        tables._spark = spark
        tables._held = {}
        tables._begin(redactor or Redactor())
        with tables._all_or_nothing():
            how = {"format": format, "mapping": mapping, "strict": strict}
            sources = Sources(source, how, on_bad, tables._redactor)
            if sources.files is None:
                raise TraceError("source is data in memory, expected files that Spark can read.")
            tables._read(sources, folder, processes=1)
        return tables

    def close(self) -> None:
        """Free the tables; the folder and the session stay."""
        for name in list(self._held):
            self._drop(name)
        super().close()

    def query(self, name: str, /, **params: Any) -> list[dict[str, Any]]:
        """The rows of `traces/sql/<name>.sql`, as dicts by column name."""
        if name not in _COUNTS and not name.startswith("pattern_"):
            return super().query(name, **params)
        text = sql_text(name).replace("$", ":")
        at = text.find(_MADE)
        if at < 0:
            rows = self._spark.sql(text, args=params).collect()
            return [row.asDict() for row in rows]
        table, _, select = text[at + len(_MADE) :].partition(" AS")
        self._hold(table, self._spark.sql(select, args=params))
        return []

    def group(self, by: Sequence[str]) -> tuple[str, ...]:
        """Define the view `grouped`, as `TraceTables.group` does."""
        by = super().group(by)
        # In Spark's texts a backslash begins an escape.
        text = grouped(by).replace("\\", "\\\\")
        self._spark.sql(f"CREATE OR REPLACE TEMP VIEW grouped AS {text}")
        return by

    def put(self, table: str, columns: Mapping[str, tuple[str, Sequence[Any]]]) -> None:
        """Replace a small helper table: column name → (SQL type, values), equally long."""
        super().put(table, columns)
        schema = ", ".join(
            f"{name} {_TYPES.get(kind, kind)}" for name, (kind, _) in columns.items()
        )
        rows = list(zip(*(values for _, values in columns.values()), strict=True))
        self._hold(table, self._spark.createDataFrame(rows, schema))

    def shelved(self) -> list[Path]:
        """None: a cluster counts all parts at once."""
        return []

    def _hold(self, table: str, frame: Frame) -> None:
        self._drop(table)
        # Kept, not worked out anew by each question, and numbered once: as tables are.
        frame = frame.persist()
        frame.createOrReplaceTempView(table)
        self._held[table] = frame

    def _drop(self, table: str) -> None:
        if (frame := self._held.pop(table, None)) is not None:
            self._spark.catalog.dropTempView(table)
            frame.unpersist()

    def _parts_of(self, files: Sequence[Path], order: Order, processes: int) -> list[Part]:
        def make(groups: Sequence[Sequence[Path]]) -> Iterator[Part]:
            orders = [replace(order, files=tuple(group)) for group in groups]
            return _made(self._spark, orders)

        return parts_of(files, make, Shelf(order.folder))

    def _use(self, parts: list[Part]) -> None:
        super()._use(parts)
        for table in TABLES:
            self._view(table, [_location(part.table(table)) for part in parts])

    def _view(self, table: str, paths: Sequence[str]) -> None:
        functions = importlib.import_module("pyspark.sql.functions")
        frame = self._spark.read.parquet(*paths)
        if self._doubles:
            # A part's folder has a name of its own: paths may be written in more than one way.
            place = functions.element_at(functions.split("_metadata.file_path", "/"), -2)
            rows = [(Path(folder).name, agent, id) for folder, agent, id in self._doubles]
            schema = "part STRING, agent STRING, trace_id STRING"
            doubles = self._spark.createDataFrame(rows, schema)
            names = ["part", "agent", "trace_id"]
            frame = frame.withColumn("part", place).join(doubles, names, "left_anti").drop("part")
        frame.createOrReplaceTempView(table)


def _location(path: Path) -> str:
    """The path as Spark takes it, which looks for patterns in it and knows no %20."""
    return "file://" + re.sub(r"([\\*?\[\]{}])", r"\\\1", str(path.absolute()))


def _made(spark: Session, orders: Sequence[Order]) -> Iterator[Part]:
    """Fill the orders in Spark's workers, each in a task of its own."""
    if not orders:
        return
    functions = importlib.import_module("pyspark.sql.functions")
    rows = [(place, pickle.dumps(order)) for place, order in enumerate(orders)]
    frame = spark.createDataFrame(rows, "place INT, content BINARY")
    frame = frame.repartition(len(rows))
    # Without Arrow, which would ask for pandas too.
    fill = functions.udf(_fill, "BINARY", useArrow=False)
    found = frame.select("place", fill("content").alias("answer")).collect()
    for row in sorted(found, key=lambda row: row["place"]):
        answer: Part | Exception = pickle.loads(row["answer"])
        if isinstance(answer, Exception):
            raise answer
        yield answer


def _fill(order: bytes) -> bytes:
    """Answer with the part or the error: raised, Spark would try three times more."""
    return pickle.dumps(answered(pickle.loads(order)))


def _check_installed() -> None:
    try:
        importlib.import_module("pyspark.sql")
    except ImportError as error:
        raise InputError(
            f"{error.name} is not installed, expected the extra: pip install 'tracetune[spark]'."
        ) from error
