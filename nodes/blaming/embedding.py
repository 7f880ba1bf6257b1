"""The embedding function that a LangGraph store was given for its index, to call from a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from langgraph.store.base import BaseStore
from langgraph.store.base.embed import EmbeddingsLambda

from tracetune.nodes.blaming.feedback_match import Embed
from tracetune.nodes.calling.threads import start

__all__ = ["embedding_of"]


def embedding_of(store: BaseStore | None, allowed_s: Callable[[], float]) -> Embed | None:
    """Return the store's own embedding function, or None where its index has none.

    It is to be called from another thread than that of the running loop. A sync function works on
    a thread of its own; one that is async alone in the running loop, where its connections are, and
    is not stopped where it blocks that loop. After a call that was given up every further one is at
    once: a function that hangs takes the time of one call, not of one per agent.

    Args:
        allowed_s: Says how many seconds a call may take that begins now; then it gives up, with a
            TimeoutError.
    """
    # Not part of BaseStore, but all of LangGraph's own stores have it.
    embeddings = getattr(store, "embeddings", None)
    if embeddings is None:
        return None
    loop, given_up = asyncio.get_running_loop(), False

    def embed(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        nonlocal given_up
        if given_up or not (left_s := allowed_s()):
            raise TimeoutError
        try:
            return _vectors(embeddings, list(texts), left_s, loop)
        except TimeoutError:
            given_up = True
            raise

    return embed


def _vectors(
    embeddings: Any, texts: list[str], timeout_s: float, loop: asyncio.AbstractEventLoop
) -> list[list[float]]:
    vectors: list[list[float]]
    if not isinstance(embeddings, EmbeddingsLambda) or hasattr(embeddings, "func"):
        try:
            vectors = start(embeddings.embed_documents, texts).result(timeout_s)
            return vectors
        except NotImplementedError:
            pass  # it is async alone
    called = asyncio.run_coroutine_threadsafe(embeddings.aembed_documents(texts), loop)
    try:
        vectors = called.result(timeout_s)
    finally:
        called.cancel()
    return vectors
