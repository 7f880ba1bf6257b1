"""Async nodes that sync callers can run too."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

from tracetune.nodes.workplace import Workplace

__all__ = ["Node", "both_ways"]


Node = Callable[..., Coroutine[Any, Any, Any]]
"""An async function of a slice of the state and, where it needs one, the workplace."""


def both_ways(name: str, node: Node, place: Workplace) -> Runnable[Any, Any]:
    """The node as a runnable that `ainvoke` awaits and `invoke` waits for."""
    closed_over = (place,) if "place" in inspect.signature(node).parameters else ()
    return _BothWays(name, lambda state: node(state, *closed_over), place)


class _BothWays(Runnable[Any, Any]):
    # Not a RunnableLambda: it looks at the signatures of its functions at every call, and adds a
    # run of its own to the node's in every trace.

    def __init__(
        self, name: str, started: Callable[[Any], Coroutine[Any, Any, Any]], place: Workplace
    ) -> None:
        self.name = name
        self._started = started
        self._place = place

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        self._place.check_waiting()
        return asyncio.run_coroutine_threadsafe(self._started(input), _loop()).result()

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return await self._started(input)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    # One loop for all sync runs: a model's connections live in the loop they were opened in,
    # and a caller inside a running loop (a notebook) cannot start a second one of its own.
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="tracetune", daemon=True).start()
    return loop


if hasattr(os, "register_at_fork"):
    # The loop's thread is not there in a forked child: it starts one of its own.
    os.register_at_fork(after_in_child=_loop.cache_clear)
