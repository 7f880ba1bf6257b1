"""The steps of plans: compare-and-set, which LangGraph stores have not, and its SQL."""

from __future__ import annotations

import functools
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
    "sqlite_deletion",
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
    """In the order for stores that write one by one, deletions last. No TTL."""

    @property
    def record(self) -> PutOp:
        """The write of the record itself."""
        return next(w for w in self.writes if (w.namespace, w.key) == (self.namespace, self.key))

    @property
    def puts(self) -> list[PutOp]:
        """What is written, the record among it."""
        return [w for w in self.writes if w.value is not None]

    @property
    def deletions(self) -> list[PutOp]:
        """What is deleted."""
        return [w for w in self.writes if w.value is None]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait a moment before going on."""

    seconds: float


WritePlan: TypeAlias = Generator[list[Op] | Swap | Pause, list[Any], T]
"""A plan that may yield a swap, too, and is sent a list of its one outcome."""


def sqlite_statement(swap: Swap) -> tuple[str, list[Any]]:
    """One INSERT: SQLite takes the file's write lock before it looks whether to."""
    import orjson

    puts = swap.puts
    values = [v for w in puts for v in (_path(w.namespace), w.key, orjson.dumps(w.value))]
    values += [_path(swap.namespace), swap.key]
    values += [] if swap.expected is None else [swap.expected]
    return _sqlite_text(len(puts), swap.expected is None), values


@functools.lru_cache
def _sqlite_text(count: int, first: bool) -> str:
    # LangGraph writes JSON as a blob, which not every SQLite reads as JSON.
    there = "EXISTS (SELECT 1 FROM store WHERE prefix = ? AND key = ?"
    unchanged = f"{there} AND json_extract(CAST(value AS TEXT), '$.entry') = ?)"
    return (
        "INSERT INTO store (prefix, key, value, created_at, updated_at)"
        " SELECT column1, column2, column3, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP"
        f" FROM (VALUES {', '.join([_ROW] * count)})"
        f" WHERE {f'NOT {there})' if first else unchanged}"
        # In place: to replace a row touches all its indexes.
        " ON CONFLICT (prefix, key) DO UPDATE SET value = excluded.value,"
        " updated_at = CURRENT_TIMESTAMP"
    )


def sqlite_deletion(swap: Swap) -> tuple[str, list[Any]]:
    """What follows in the same transaction when the statement has written."""
    gone = swap.deletions
    rows = ", ".join(["(?, ?)"] * len(gone))
    values = [v for w in gone for v in (_path(w.namespace), w.key)]
    return f"DELETE FROM store WHERE (prefix, key) IN (VALUES {rows})", values


def postgres_statement(swap: Swap) -> tuple[str, list[Any]]:
    """The record's row decides: who comes second waits for it, and then finds it changed."""
    # By name: type checkers run without the extra, too.
    jsonb = importlib.import_module("psycopg.types.json").Jsonb
    place = [_path(swap.namespace), swap.key]
    value = jsonb(dict(swap.record.value or {}))
    values = [*place, value] if swap.expected is None else [value, *place, swap.expected]
    others = [w for w in swap.puts if w is not swap.record]
    values += [v for w in others for v in (_path(w.namespace), w.key, jsonb(dict(w.value or {})))]
    values += [v for w in swap.deletions for v in (_path(w.namespace), w.key)]
    return _postgres_text(len(others), len(swap.deletions), swap.expected is None), values


@functools.lru_cache
def _postgres_text(others: int, deletions: int, first: bool) -> str:
    swapped = (
        "INSERT INTO store (prefix, key, value) VALUES (%s, %s, %s)"
        " ON CONFLICT (prefix, key) DO NOTHING RETURNING 1"
        if first
        else "UPDATE store SET value = %s, updated_at = CURRENT_TIMESTAMP"
        " WHERE prefix = %s AND key = %s AND value->>'entry' = %s RETURNING 1"
    )
    parts = [f"swapped AS ({swapped})"]
    if others:
        rows = ", ".join(["(%s, %s, %s::jsonb)"] * others)
        parts.append(
            "written AS (INSERT INTO store (prefix, key, value)"
            f" SELECT * FROM (VALUES {rows}) AS new (prefix, key, value)"
            " WHERE EXISTS (SELECT 1 FROM swapped)"
            " ON CONFLICT (prefix, key) DO UPDATE SET value = EXCLUDED.value,"
            " updated_at = CURRENT_TIMESTAMP)"
        )
    if deletions:
        rows = ", ".join(["(%s, %s)"] * deletions)
        parts.append(
            f"deleted AS (DELETE FROM store WHERE (prefix, key) IN (VALUES {rows})"
            " AND EXISTS (SELECT 1 FROM swapped))"
        )
    return f"WITH {', '.join(parts)} SELECT count(*) AS swapped FROM swapped"


def _path(namespace: tuple[str, ...]) -> str:
    return ".".join(namespace)
