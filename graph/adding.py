"""How a node comes into a graph of ours: sync and async, on an account, with its fallback edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langgraph.graph import StateGraph

from tracetune.graph.running import Node, both_ways
from tracetune.graph.spending import on_account
from tracetune.nodes.workplace import Workplace

__all__ = ["add_node"]


def add_node(
    b: StateGraph[Any, Any, Any, Any],
    place: Workplace,
    name: str,
    node: Node,
    reads: type[Any],
    failed: Callable[..., Any] | None = None,
    fallback: str = "",
    *,
    defer: bool = False,
) -> None:
    """Add the node, at home in its workplace.

    Args:
        reads: The slice of the state it is given.
        failed: What to do when its call of the model fails; it may go on at `fallback`.
    """
    if failed is None:
        b.add_node(name, both_ways(name, node, place), input_schema=reads, defer=defer)
        return
    b.add_node(
        name,
        both_ways(name, on_account(node), place),
        input_schema=reads,
        error_handler=failed,
        destinations={fallback: "LLM failed"},
    )
