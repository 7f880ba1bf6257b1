"""The calls of a step that was broken off: its thread holds them already, its state not yet."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.runnables import ensure_config

from tracetune.graph.state import ModelCall

__all__ = ["calls_of_this_step"]

_SAVER = "__pregel_checkpointer"
"""Where LangGraph hands a running node the checkpointer of its graph; it has no public name."""


async def calls_of_this_step() -> list[ModelCall]:
    """Return the calls of branches that ended before the step now at work was broken off.

    LangGraph notes what a branch wrote when the branch ends, and puts it into the state when all
    have. A run that is resumed does not do those branches again. Empty without a checkpointer.
    """
    told = ensure_config().get("configurable", {})
    saver = told.get(_SAVER)
    if "thread_id" not in told or not hasattr(saver, "aget_tuple"):
        return []
    within = str(told.get("checkpoint_ns", "")).rpartition("|")[0]
    place = {"configurable": {"thread_id": told["thread_id"], "checkpoint_ns": within}}
    found = await _checkpoint(saver, place)
    writes = (found.pending_writes if found is not None else None) or []
    return [call for _, channel, calls in writes if channel == "calls" for call in calls]


async def _checkpoint(saver: Any, place: Any) -> Any:
    try:
        return await saver.aget_tuple(place)
    except NotImplementedError:  # a sync-only one, such as SqliteSaver
        pass
    return await asyncio.to_thread(saver.get_tuple, place)
