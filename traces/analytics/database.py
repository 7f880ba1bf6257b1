"""The database over the tables of parts, which does only what it is asked for."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracetune.traces.analytics.load import connect, put
from tracetune.traces.analytics.partials import grouped
from tracetune.traces.analytics.views import Double, table_texts

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["Database"]

_ASKED = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)")
_BEFORE = re.compile(r"(?:--.*\n|CREATE OR REPLACE TEMP (?:TABLE|VIEW) \w+ AS\n)*")


class Database:
    """A DuckDB in this process, with the tables of all parts together.

    It is begun when it is first asked: who takes what was counted before needs none. A table is
    no view, but part of each question about it: to define a view takes as long as a small question.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tracetune-", ignore_cleanup_errors=True)
        self._begun: DuckDBPyConnection | None = None
        self._closed = False
        self._texts: dict[str, str] = {}

    @property
    def folder(self) -> Path:
        """One of its own, which is gone once this is closed."""
        return Path(self._folder.name)

    def aside(self) -> DuckDBPyConnection:
        """A connection for other work; what is defined there is not seen here. To be closed.

        Raises:
            ValueError: It is closed.
        """
        return self._connection().cursor()

    def use(self, folders: Sequence[Path], doubles: Sequence[Double] = ()) -> None:
        """Ask about the parts in these folders, without doubles, from now on."""
        if doubles:
            columns = zip(("folder", "agent", "trace_id"), zip(*doubles, strict=True), strict=True)
            self.put("doubles", {name: ("VARCHAR", values) for name, values in columns})
        self._texts |= table_texts(folders, without=bool(doubles))

    def group(self, by: Sequence[str]) -> None:
        """Let `grouped` be the runs, with a text `grp` of their values of `by`."""
        self._texts["grouped"] = grouped(by)

    def execute(self, query: str, values: Any = None) -> DuckDBPyConnection:
        """Run SQL on the tables.

        Raises:
            ValueError: It is closed.
        """
        asked = set(_ASKED.findall(query))
        if "grouped" in asked:
            asked |= set(_ASKED.findall(self._texts.get("grouped", "")))
        tables = ", ".join(
            f"{name} AS NOT MATERIALIZED ({text})"
            for name, text in self._texts.items()
            if name in asked
        )
        before = _BEFORE.match(query)
        at = before.end() if before else 0
        whole = f"{query[:at]}WITH {tables} {query[at:]}" if tables else query
        return self._connection().execute(whole, values or {})

    def put(self, table: str, columns: Mapping[str, tuple[str, Sequence[Any]]]) -> None:
        """Replace a small helper table: column name → (SQL type, values), equally long."""
        put(self._connection(), table, columns)

    def close(self) -> None:
        """Free all; closing twice does nothing."""
        self._closed = True
        if self._begun is not None:
            self._begun.close()
        self._folder.cleanup()

    def _connection(self) -> DuckDBPyConnection:
        if self._closed:
            raise ValueError("The tables are closed.")
        if self._begun is None:
            self._begun = connect(self.folder / "spill")
        return self._begun
