"""Carrying out the steps of plans on a store, sync or awaited.

For a swap, SQLite and Postgres compare and write in one SQL statement, an in-memory store is
guarded by a lock, since no other process sees it, and any other store goes by claims.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import time
from typing import Any, Literal, TypeVar

from langgraph.store.base import BaseStore, GetOp, Op
from langgraph.store.memory import InMemoryStore

from tracetune.stores.claims import claimed, entry_of
from tracetune.stores.steps import (
    Outcome,
    Pause,
    Swap,
    WritePlan,
    postgres_statement,
    sqlite_deletion,
    sqlite_statement,
)

__all__ = ["acarry_out", "arun", "carry_out", "run"]

T = TypeVar("T")

_memory_lock = threading.Lock()


def run(store: BaseStore, plan: WritePlan[T]) -> T:
    try:
        step = next(plan)
        while True:
            step = plan.send(carry_out(store, step))
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


async def arun(store: BaseStore, plan: WritePlan[T]) -> T:
    try:
        step = next(plan)
        while True:
            step = plan.send(await acarry_out(store, step))
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


def carry_out(store: BaseStore, step: list[Op] | Swap | Pause) -> list[Any]:
    """Do one step of a plan, blocking, and return its results."""
    if isinstance(step, Pause):
        time.sleep(step.seconds)
        return []
    if isinstance(step, list):
        return store.batch(step)
    store = _unwrapped(store)
    if isinstance(store, InMemoryStore):
        return [_in_memory(store, step)]
    if (family := _family(type(store))) is None:
        return [run(store, claimed(step))]
    if isinstance(loop := getattr(store, "loop", None), asyncio.AbstractEventLoop):
        if loop is _running():
            raise asyncio.InvalidStateError("a synchronous call in the store's own event loop")
        return [asyncio.run_coroutine_threadsafe(_asql(store, family, step), loop).result()]
    return [_sql(store, family, step)]


async def acarry_out(store: BaseStore, step: list[Op] | Swap | Pause) -> list[Any]:
    """Do one step of a plan, never blocking the event loop, and return its results.

    Whoever is cancelled waits no longer; what was begun in the store is still brought to its end.
    """
    if isinstance(step, Pause):
        await asyncio.sleep(step.seconds)
        return []
    # LangGraph's SQLite store leaves a transaction open that is cancelled while it begins, and
    # then refuses all that follows.
    return await asyncio.shield(asyncio.ensure_future(_to_its_end(store, step)))


async def _to_its_end(store: BaseStore, step: list[Op] | Swap) -> list[Any]:
    if isinstance(step, list):
        return await _abatch(store, step)
    store = _unwrapped(store)
    if isinstance(store, InMemoryStore):
        return [_in_memory(store, step)]
    if (family := _family(type(store))) is None:
        return [await arun(store, claimed(step))]
    if not isinstance(loop := getattr(store, "loop", None), asyncio.AbstractEventLoop):
        return [await asyncio.to_thread(_sql, store, family, step)]
    if loop is _running():
        return [await _asql(store, family, step)]
    there = asyncio.run_coroutine_threadsafe(_asql(store, family, step), loop)
    return [await asyncio.wrap_future(there)]


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _abatch(store: BaseStore, ops: list[Op]) -> list[Any]:
    try:
        return await store.abatch(ops)
    except NotImplementedError:  # a sync-only store, such as SqliteStore
        pass
    return await asyncio.to_thread(store.batch, ops)


def _unwrapped(store: BaseStore) -> BaseStore:
    """The store inside the wrapper of `langgraph dev`; others may change what passes through."""
    kind = type(store)
    if kind.__name__ == "BatchedStore" and kind.__module__.startswith("langgraph_runtime"):
        return getattr(store, "_store", store)
    return store


@functools.cache
def _family(kind: type) -> Literal["sqlite", "postgres"] | None:
    """Which SQL a store speaks; a store of a module that was never imported is not one of it."""
    for family, base in (("sqlite", "BaseSqliteStore"), ("postgres", "BasePostgresStore")):
        module = sys.modules.get(f"langgraph.store.{family}.base")
        if module is not None and issubclass(kind, getattr(module, base)):
            return "sqlite" if family == "sqlite" else "postgres"
    return None


def _in_memory(store: BaseStore, swap: Swap) -> Outcome:
    # It does no I/O, so that a lock held for microseconds is fine in an event loop as well.
    with _memory_lock:
        [item] = store.batch([GetOp(swap.namespace, swap.key)])
        if entry_of(item) != swap.expected:
            return "lost"
        store.batch(list(swap.writes))
        return "won"


def _sql(store: Any, family: str, swap: Swap) -> Outcome:
    if family == "sqlite":
        with store._cursor(transaction=bool(swap.deletions)) as cursor:
            cursor.execute(*sqlite_statement(swap))
            won = cursor.rowcount > 0
            if won and swap.deletions:
                cursor.execute(*sqlite_deletion(swap))
            return "won" if won else "lost"
    with store._cursor(pipeline=True) as cursor:
        cursor.execute(*postgres_statement(swap))
        return "won" if cursor.fetchall()[0]["swapped"] else "lost"


async def _asql(store: Any, family: str, swap: Swap) -> Outcome:
    if family == "sqlite":
        async with store._cursor(transaction=bool(swap.deletions)) as cursor:
            await cursor.execute(*sqlite_statement(swap))
            won = cursor.rowcount > 0
            if won and swap.deletions:
                await cursor.execute(*sqlite_deletion(swap))
            return "won" if won else "lost"
    async with store._cursor(pipeline=True) as cursor:
        await cursor.execute(*postgres_statement(swap))
        return "won" if (await cursor.fetchall())[0]["swapped"] else "lost"
