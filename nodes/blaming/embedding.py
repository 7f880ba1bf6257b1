"""The embedding function that a LangGraph store was given for its index, to call from a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from langgraph.store.base import BaseStore

from tracetune.nodes.blaming.feedback_match import Embed

__all__ = ["embedding_of"]


def embedding_of(store: BaseStore | None, timeout_s: float) -> Embed | None:
    """Return the store's own embedding function, or None where its index has none.

    It is to be called from another thread than that of the running loop, in which it does its work:
    so it does not matter whether the store was given a sync or an async function.

    Args:
        timeout_s: Seconds after which a call of it gives up, with a TimeoutError.
    """
    # Not part of BaseStore, but all of LangGraph's own stores have it.
    embeddings = getattr(store, "embeddings", None)
    if embeddings is None:
        return None
    loop = asyncio.get_running_loop()

    def embed(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        async def bounded() -> list[list[float]]:
            async with asyncio.timeout(timeout_s):
                vectors: list[list[float]] = await embeddings.aembed_documents(list(texts))
                return vectors

        return asyncio.run_coroutine_threadsafe(bounded(), loop).result()

    return embed
