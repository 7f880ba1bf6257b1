"""LangGraph's Postgres stores, which connect again when their connection was lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from psycopg import AsyncConnection, Connection
from psycopg.rows import dict_row

__all__ = ["AsyncReconnectingStore", "ReconnectingStore"]

_HOW: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}


def _connected(url: str) -> Any:  # its rows are dicts, which its type cannot tell
    return Connection.connect(url, **_HOW)


async def _aconnected(url: str) -> Any:
    return await AsyncConnection.connect(url, **_HOW)


class ReconnectingStore(PostgresStore):
    """The call that finds the connection lost fails; the next one connects again."""

    def __init__(self, url: str) -> None:
        super().__init__(_connected(url))
        self._url = url
        self._connecting = threading.Lock()

    def close(self) -> None:
        self.conn.close()

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Iterator[Any]:
        with self._connecting:
            if self.conn.closed:
                self.conn = _connected(self._url)
        with super()._cursor(pipeline=pipeline) as cursor:
            yield cursor


class AsyncReconnectingStore(AsyncPostgresStore):
    """The same, awaited."""

    def __init__(self, url: str, connection: AsyncConnection[Any]) -> None:
        super().__init__(connection)
        self._url = url
        self._connecting = asyncio.Lock()

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[Any]:
        async with self._connecting:
            if self.conn.closed:
                self.conn = await _aconnected(self._url)
        async with super()._cursor(pipeline=pipeline) as cursor:
            yield cursor

    @classmethod
    async def open(cls, url: str) -> AsyncReconnectingStore:
        return cls(url, await _aconnected(url))

    async def close(self) -> None:
        await self.conn.close()
