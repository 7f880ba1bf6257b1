"""The steps of plans: compare-and-set, which LangGraph stores have not, and its SQL."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from langgraph.store.base import Op, PutOp

__all__ = [
    "Outcome",
    "Pause",
    "Swap",
    "WritePlan",
    "postgres_statement",
    "sqlite_statement",
]

T = TypeVar("T")

Outcome = Literal["won", "lost", "overwritten"]
"""`overwritten`: all was written, but someone who did not look wrote over the record as well."""

_ROW = "(?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Swap:
    """Write all of `writes`, the record itself among them, or nothing where another came first.

    The record is unchanged while its field `entry` is `expected`; None: while there is none.
    """

    namespace: tuple[str, ...]
    key: str
    expected: str | None
    writes: tuple[PutOp, ...]
    """In the order for stores that write one by one: the record last. No deletions, no TTL."""

    @property
    def record(self) -> PutOp:
        """The write of the record itself."""
        return next(w for w in self.writes if (w.namespace, w.key) == (self.namespace, self.key))

    @property
    def others(self) -> list[PutOp]:
        """What is written with it."""
        return [w for w in self.writes if w is not self.record]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait a moment before going on."""

    seconds: float


WritePlan: TypeAlias = Generator[list[Op] | Swap | Pause, list[Any], T]
"""A plan that may yield a swap, too, and is sent a list of its one outcome."""


def sqlite_statement(swap: Swap) -> tuple[str, list[Any]]:
    """One INSERT: SQLite takes the file's write lock before it looks whether to."""
    import orjson

    place = [_path(swap.namespace), swap.key]
    if swap.expected is None:
        condition, given = "NOT EXISTS (SELECT 1 FROM store WHERE prefix = ? AND key = ?)", place
    else:
        # LangGraph writes JSON as a blob, which not every SQLite reads as JSON.
        condition = (
            "EXISTS (SELECT 1 FROM store WHERE prefix = ? AND key = ?"
            " AND json_extract(CAST(value AS TEXT), '$.entry') = ?)"
        )
        given = [*place, swap.expected]
    rows = ", ".join([_ROW] * len(swap.writes))
    values = [v for w in swap.writes for v in (_path(w.namespace), w.key, orjson.dumps(w.value))]
    statement = (
        "INSERT OR REPLACE INTO store (prefix, key, value, created_at, updated_at)"
        " SELECT column1, column2, column3, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP"
        f" FROM (VALUES {rows}) WHERE {condition}"
    )
    return statement, [*values, *given]


def postgres_statement(swap: Swap) -> tuple[str, list[Any]]:
    """The record's row decides: who comes second waits for it, and then finds it changed."""
    # By name: type checkers run without the extra, too.
    jsonb = importlib.import_module("psycopg.types.json").Jsonb
    place = [_path(swap.namespace), swap.key]
    value = jsonb(dict(swap.record.value or {}))
    if swap.expected is None:
        swapped = (
            "INSERT INTO store (prefix, key, value) VALUES (%s, %s, %s)"
            " ON CONFLICT (prefix, key) DO NOTHING RETURNING 1"
        )
        given: list[Any] = [*place, value]
    else:
        swapped = (
            "UPDATE store SET value = %s, updated_at = CURRENT_TIMESTAMP"
            " WHERE prefix = %s AND key = %s AND value->>'entry' = %s RETURNING 1"
        )
        given = [value, *place, swap.expected]
    rows = ", ".join(["(%s, %s, %s::jsonb)"] * len(swap.others))
    values = [
        v for w in swap.others for v in (_path(w.namespace), w.key, jsonb(dict(w.value or {})))
    ]
    written = (
        "INSERT INTO store (prefix, key, value)"
        f" SELECT * FROM (VALUES {rows}) AS new (prefix, key, value)"
        " WHERE EXISTS (SELECT 1 FROM swapped)"
        " ON CONFLICT (prefix, key) DO UPDATE SET value = EXCLUDED.value,"
        " updated_at = CURRENT_TIMESTAMP"
    )
    with_others = f", written AS ({written})" if swap.others else ""
    count = "SELECT count(*) AS swapped FROM swapped"
    return f"WITH swapped AS ({swapped}){with_others} {count}", [*given, *values]


def _path(namespace: tuple[str, ...]) -> str:
    return ".".join(namespace)
