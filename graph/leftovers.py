"""The rules at work on all that branches of the model left to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tracetune.graph.routes import config_task, prompt_task
from tracetune.graph.running import Node
from tracetune.graph.state import ConfigTask, Leftover, PromptTask

__all__ = ["each_config", "each_prompt"]

Written = Mapping[str, list[Any]]


def each_prompt(
    node: Callable[[PromptTask], Awaitable[Written]],
) -> Node:
    """The node for every prompt that is left, one after the other."""

    async def prompts(state: Leftover) -> Written:
        return _joined([await node(prompt_task(state, c)) for c in state["prompts_left"]])

    return prompts


def each_config(
    node: Callable[[ConfigTask], Awaitable[Written]],
) -> Node:
    """The node for every agent whose config is left, one after the other."""

    async def configs(state: Leftover) -> Written:
        return _joined([await node(config_task(state, a)) for a in state["configs_left"]])

    return configs


def _joined(all_written: list[Written]) -> Written:
    joined: dict[str, list[Any]] = {}
    for written in all_written:
        for name, values in written.items():
            joined.setdefault(name, []).extend(values)
    return joined
