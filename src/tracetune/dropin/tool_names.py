"""Names of tools, of whatever LangChain takes for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tracetune.errors import InputError

__all__ = ["tool_names"]


def tool_names(tools: Iterable[Any]) -> tuple[str, ...]:
    """Return the names in their order, each once.

    Args:
        tools: Names, LangChain's tools, functions, classes, or tools as OpenAI and Anthropic have
            them.

    Raises:
        InputError: One has no name; or `tools` is a text, or nothing to go through.
    """
    if isinstance(tools, str | Mapping) or not isinstance(tools, Iterable):
        raise InputError(f"tools must be a list of tools or names, but got {tools!r:.60}.")
    return tuple(dict.fromkeys(_name(tool, place) for place, tool in enumerate(tools)))


def _name(tool: Any, place: int) -> str:
    if isinstance(tool, Mapping):
        inner = tool.get("function")
        name = (inner if isinstance(inner, Mapping) else tool).get("name")
    elif isinstance(tool, str):
        name = tool
    else:
        name = getattr(tool, "name", None) or getattr(tool, "__name__", None)
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"tools[{place}] must be a tool or its name, but got {tool!r:.60}.")
    return name.strip()
