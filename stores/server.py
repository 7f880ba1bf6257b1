"""The store that `langgraph dev` keeps memory in: the one the served project file names."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from langgraph.store.base import BaseStore

from tracetune.stores.backends import open_store
from tracetune.stores.project import find_project, load_project

__all__ = ["store"]

DEFAULT = "sqlite:///.tracetune/memory.db"


@contextlib.asynccontextmanager
async def store() -> AsyncIterator[BaseStore]:
    """Open the store of the project named by TRACETUNE_PROJECT, or one in this folder."""
    url, base = await asyncio.to_thread(_where)
    async with open_store(url, base=base) as opened:
        yield opened


def _where() -> tuple[str, Path]:
    named = os.environ.get("TRACETUNE_PROJECT")
    if not named:
        return DEFAULT, Path.cwd()
    project = load_project(find_project(Path(named)))
    return project.store, project.root
