"""Nodes that ask the model, each on an account of its cycle's budget."""

from __future__ import annotations

from typing import Any

from tracetune.errors import NoModelError
from tracetune.graph.running import Node
from tracetune.nodes.calling.calls import CallError
from tracetune.nodes.workplace import Workplace

__all__ = ["on_account"]


def on_account(node: Node) -> Node:
    """The node, with an account for what it asks; what it writes holds every call it made.

    A node that fails raises a CallError with its calls, so that none goes unreported.
    """

    async def asking(state: Any, place: Workplace) -> dict[str, Any]:
        account = await place.account(state)
        with account.in_use():
            try:
                written = await node(state, place)
            except (NoModelError, CallError):
                raise
            except Exception as error:
                told = f"tracetune itself failed ({type(error).__name__})"
                raise CallError(told, tuple(account.calls)) from error
        return {**written, "calls": account.calls}

    return asking
