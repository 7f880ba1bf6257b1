"""The blocks a chat message's content is made of: text, thoughts, tool calls and their results."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from tracetune.traces.readers.base import UNPARSED, arguments_of, as_mapping, json_text, text
from tracetune.traces.readers.untyped import typed

__all__ = [
    "CALL_KINDS",
    "NOTHING_SAID",
    "Call",
    "Result",
    "Spoken",
    "answer_of",
    "blocks_of",
    "call_of",
    "flat",
    "role_of",
]

CALL_KINDS = frozenset({"tool_call", "function_call", "invalid_tool_call"})
_TEXTS = frozenset({"text", "output_text", "input_text", "summary_text", "reasoning_text"})
_BLOCKS = frozenset({"resource", "web_search_result"})
"""Kinds of blocks that only results of tools hold."""
_RESULTS = frozenset({"tool_call_response", "server_tool_call_response", "server_tool_result"})
_MEDIA = ("audio", "document", "file", "image", "input_", "media", "text-plain", "video")
_CARRIED = frozenset(
    {
        "audio",
        "base64",
        "data",
        "file_data",
        "file_id",
        "file_url",
        "image",
        "image_url",
        "input_audio",
        "mime_type",
        "modality",
        "source_type",
        "video",
    }
)
"""What blocks of pictures, sound and files have, and not a tool's own `{"type": "file", …}`."""
_PLAIN_NAMES = ("blob", "uri")
_CUSTOM = frozenset({"custom", "custom_tool_call"})
"""OpenAI's calls whose `input` is plain text."""
_ASKED = ("action", "operation", "code", "queries")
"""Where the calls of OpenAI's own tools keep their arguments."""
NOTHING_SAID = frozenset(
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
            spoken.results.append(answer_of(block))
        elif kind.endswith(("tool_use", "_call")):
            spoken.calls.append(call_of(block, where))
            if kind not in CALL_KINDS and (came_out := _came_out(block)):
                spoken.results.append(came_out)
        elif not kind.startswith(_MEDIA) and kind not in NOTHING_SAID:
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
    elif (custom := call.get("custom")) is not None:
        inner = as_mapping(custom, f"{where}.tool_calls.custom")
    name = text(inner.get("name"), f"{where}.tool_calls.name")
    kind = str(call.get("type"))
    if not name and kind.endswith("_call") and kind not in CALL_KINDS:
        name = kind.removesuffix("_call")  # a provider's own tool, such as web_search_call
    if not name:
        raise ValueError(f"{where}.tool_calls: a call names no tool")
    given = next((inner[key] for key in ("args", "arguments", "input") if key in inner), None)
    if given is None and inner is call:
        given = _asked(call)
    elif kind in _CUSTOM and isinstance(given, str):
        given = {"input": given}
    arguments = given if isinstance(given, dict) else _parsed(given)
    id = text(call.get("call_id") or call.get("id"), f"{where}.tool_calls.id") or ""
    fault = "its arguments are no JSON object" if arguments.keys() == {UNPARSED} else None
    return Call(id, name, arguments, fault)


def _asked(call: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a call of a provider's own tool asks for."""
    asked: dict[str, Any] = {}
    for name in _ASKED:
        if isinstance(value := call.get(name), dict):
            asked |= {key: part for key, part in value.items() if key != "sources"}  # what it found
        elif value is not None:
            asked[name] = value
    return asked or None


def _came_out(call: Mapping[str, Any]) -> Result | None:
    """Return what a provider's own tool answered, where its call tells that."""
    told = next((call[key] for key in ("output", "outputs", "results") if call.get(key)), None)
    failed = call.get("status") == "failed" and "call_id" not in call  # else its output tells
    error = call.get("error")
    if not (told or failed or error):
        return None
    id = str(call.get("call_id") or call.get("id") or "")
    return Result(id, None, flat(error or told), True if failed or error else None)


def flat(content: Any) -> str:
    """Return content as text: its text blocks joined, and any other value as JSON."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list | tuple) and all(map(_is_block, content)):
        return "".join(block if isinstance(block, str) else _said(block) for block in content)
    return "" if _is_media(content) else json_text(content) or ""


def _is_block(value: Any) -> bool:
    """Whether it is a block of a message, and no object of a tool's own that has a type."""
    if not isinstance(value, Mapping) or "type" not in value:
        return isinstance(value, str)
    kind = str(value["type"])
    if kind == "resource":
        return isinstance(value.get("resource"), Mapping)
    if kind in _TEXTS or kind in _BLOCKS or isinstance(value.get("text"), str):
        return True
    return _is_media(value) if kind in _PLAIN_NAMES else kind in NOTHING_SAID or _is_media(value)


def _is_media(value: Any) -> bool:
    kind = str(value.get("type")) if isinstance(value, Mapping) else ""
    if kind == "computer_screenshot":
        return True
    if not kind.startswith((*_MEDIA, *_PLAIN_NAMES)) or "text" in value:
        return False
    inner = any(isinstance(value.get(name), Mapping) for name in ("document", "file", "source"))
    linked = "url" in value and value.keys() <= {"type", "url", "id", "index", "extras"}
    return inner or linked or not _CARRIED.isdisjoint(value)


def _said(block: Mapping[str, Any]) -> str:
    said = block.get("text", block.get("content"))
    if isinstance(said, str):
        return said
    if isinstance(said, list) and not _is_media(block):
        return flat(said)
    resource = block.get("resource")  # as MCP servers embed one
    if isinstance(resource, Mapping):
        return flat(resource.get("text"))
    found = (block.get(name) for name in ("title", "url")) if block["type"] in _BLOCKS else ()
    return " ".join(str(one) for one in found if one)


def _thought(block: Mapping[str, Any]) -> str:
    for key in ("thinking", "reasoning", "content", "summary"):
        if said := flat(block.get(key)):
            return said
    return ""


def answer_of(block: Mapping[str, Any]) -> Result:
    """Return a result, in any provider's form."""
    ids = (block.get(key) for key in ("tool_use_id", "tool_call_id", "call_id", "id"))
    error = block.get("error")
    said = (block.get(key) for key in ("content", "output", "response", "result"))
    content = error or next((one for one in said if one is not None), None)
    failed = block.get("is_error")
    if not isinstance(failed, bool):
        broken = error or block.get("status") in ("error", "failed") or _is_broken(content)
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
