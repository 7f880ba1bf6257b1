"""The blocks a chat message's content is made of: text, thoughts, tool calls and their results."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from tracetune.traces.readers.base import UNPARSED, arguments_of, as_mapping, json_text, text
from tracetune.traces.readers.untyped import typed

__all__ = ["CALL_KINDS", "Call", "Result", "Spoken", "blocks_of", "call_of", "flat", "role_of"]

CALL_KINDS = frozenset({"tool_call", "function_call", "invalid_tool_call"})
_TEXTS = frozenset({"text", "output_text", "input_text", "summary_text", "reasoning_text"})
_RESULTS = frozenset({"tool_call_response", "server_tool_call_response", "server_tool_result"})
_MEDIA = ("audio", "document", "file", "image", "input_", "media", "text-plain", "video")
_NOTHING_SAID = frozenset(
    {
        "blob",
        "cache_point",
        "citation",
        "compaction",
        "container_upload",
        "guard_content",
        "input_json_delta",
        "item_reference",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_list_tools",
        "non_standard",
        "redacted_thinking",
        "search_result",
        "server_tool_call_chunk",
        "tool_call_chunk",
        "tool_reference",
        "uri",
    }
)
"""Kinds of blocks that tell nothing a trace has."""


_ROLES = {
    "ai": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "tool": "tool",
    "function": "tool",
    "remove": "remove",
}


def role_of(kind: str) -> str | None:
    """Return whose message it is, by any provider's role or the name of LangChain's class."""
    return _ROLES.get(kind) or _ROLES.get(
        kind.removesuffix("Chunk").removesuffix("Message").lower()
    )


class Call(msgspec.Struct, frozen=True):  # messages are read by the million
    """A tool call as a message makes it."""

    id: str
    """Empty if it has none."""
    name: str
    arguments: Mapping[str, Any]
    fault: str | None
    """Why it cannot have been carried out."""


class Result(msgspec.Struct, frozen=True):
    """What a tool answered."""

    id: str
    """The call's; empty if it is not told."""
    name: str | None
    text: str
    failed: bool | None
    """None when nothing but the text can tell."""


class Spoken(msgspec.Struct, frozen=True):
    """What one message holds, each kind in order."""

    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Call] = []
    results: list[Result] = []
    unknown: list[str] = []
    """Kinds of blocks that are no text, call or result, nor known to be none of these."""


def blocks_of(blocks: list[Any], where: str) -> Spoken:
    """Return what the blocks hold; media are left out."""
    spoken = Spoken()
    for block in blocks:
        if isinstance(block, str):
            spoken.texts.append(block)
            continue
        block = as_mapping(block, f"{where}.content")
        if "type" not in block:
            block = typed(block)
        kind = str(block["type"])
        if kind in _TEXTS:
            spoken.texts.append(_said(block))
        elif kind in ("thinking", "reasoning"):
            spoken.thoughts.extend(said for said in [_thought(block)] if said)
        elif kind == "refusal":
            spoken.texts.append(text(block.get("refusal"), f"{where}.refusal") or "")
        elif kind.endswith(("tool_result", "_output")) or kind in _RESULTS:
            spoken.results.append(_answer(block))
        elif kind.endswith(("tool_use", "_call")):
            spoken.calls.append(call_of(block, where))
            if kind == "mcp_call" and (block.get("output") or block.get("error")):
                spoken.results.append(_answer(block))
        elif not kind.startswith(_MEDIA) and kind not in _NOTHING_SAID:
            spoken.unknown.append(kind)
    return spoken


def call_of(call: Mapping[str, Any], where: str) -> Call:
    """Return a call, in any provider's form.

    Raises:
        ValueError: It names no tool.
    """
    inner = call
    if (function := call.get("function")) is not None:
        inner = as_mapping(function, f"{where}.tool_calls.function")
    name = text(inner.get("name"), f"{where}.tool_calls.name")
    kind = str(call.get("type"))
    if not name and kind.endswith("_call") and kind not in CALL_KINDS:
        name = kind.removesuffix("_call")  # a provider's own tool, such as web_search_call
    if not name:
        raise ValueError(f"{where}.tool_calls: a call names no tool")
    given = next((inner[key] for key in ("args", "arguments", "input") if key in inner), None)
    arguments = given if isinstance(given, dict) else _parsed(given)
    id = text(call.get("call_id") or call.get("id"), f"{where}.tool_calls.id") or ""
    fault = "its arguments are no JSON object" if arguments.keys() == {UNPARSED} else None
    return Call(id, name, arguments, fault)


def flat(content: Any) -> str:
    """Return content as text: its text blocks joined, and any other value as JSON."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list | tuple) and all(map(_is_block, content)):
        return "".join(block if isinstance(block, str) else _said(block) for block in content)
    return json_text(content) or ""


def _is_block(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Mapping) and "type" in value)


def _said(block: Mapping[str, Any]) -> str:
    said = block.get("text", block.get("content"))
    return said if isinstance(said, str) else ""


def _thought(block: Mapping[str, Any]) -> str:
    for key in ("thinking", "reasoning", "content", "summary"):
        if said := flat(block.get(key)):
            return said
    return ""


def _answer(block: Mapping[str, Any]) -> Result:
    ids = (block.get(key) for key in ("tool_use_id", "tool_call_id", "call_id", "id"))
    error = block.get("error")
    said = (block.get(key) for key in ("content", "output", "response", "result"))
    content = error or next((one for one in said if one is not None), None)
    failed = block.get("is_error")
    if not isinstance(failed, bool):
        broken = error or block.get("status") == "error" or _is_broken(content)
        failed = True if broken else None
    id = next((str(id) for id in ids if id), "")
    return Result(id, text(block.get("name"), "name"), flat(content), failed)


def _is_broken(content: Any) -> bool:
    """Whether it is the error that Anthropic's own tools answer with."""
    return isinstance(content, Mapping) and str(content.get("type")).endswith("_error")


def _parsed(given: Any) -> Mapping[str, Any]:
    if isinstance(given, str) and given.startswith("{"):
        # Several times as fast as what also takes the line breaks that some models write.
        with contextlib.suppress(orjson.JSONDecodeError):
            found: dict[str, Any] = orjson.loads(given)
            return found
    return arguments_of(given)
