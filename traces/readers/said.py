"""Chat messages as spans carry them: every provider's and tracer's form, as JSON or in strings.

Nothing here is an error: a tracer wraps, cuts and mixes forms, and a message that cannot be read
says nothing. `chat` reads messages that are a run of their own, and says what is wrong with them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import orjson

from tracetune.traces.readers.base import json_text
from tracetune.traces.readers.blocks import answer_of, call_of, flat, role_of
from tracetune.traces.readers.untyped import typed

__all__ = ["Called", "Said", "parsed", "plain_text", "said_in", "unseen_in"]

Role = Literal["system", "user", "assistant", "tool"]

_WRAPPERS = (
    "messages",
    "generations",
    "prompts",
    "choices",
    "candidates",
    "message",
    "output",
    "input",
    "contents",
    "content",
    "text",
)
_OPENINGS = frozenset('{["')
_TEXTS = frozenset({"text", "input_text", "output_text", None})
_THOUGHTS = frozenset({"thinking", "reasoning", "reasoning_content"})
_CALLS = frozenset({"tool_call", "tool_use", "function_call"})
_ANSWERS = frozenset({"tool_call_response", "tool_result", "function_call_output"})


_HOSTED = frozenset(
    {
        "apply_patch_call",
        "code_interpreter_call",
        "computer_call",
        "custom_tool_call",
        "file_search_call",
        "image_generation_call",
        "local_shell_call",
        "mcp_call",
        "mcp_tool_use",
        "server_tool_use",
        "shell_call",
        "web_search_call",
    }
)
"""Calls that have forms of their own; what an application calls `phone_call` is none."""
_RUN_THERE = frozenset(
    {
        "code_interpreter_call",
        "file_search_call",
        "image_generation_call",
        "mcp_call",
        "mcp_tool_use",
        "server_tool_use",
        "web_search_call",
    }
)
"""Those that the provider carries out itself."""
_OUTPUTS = frozenset(f"{kind}_output" for kind in _HOSTED)
_ITEMS = _THOUGHTS | _CALLS | _ANSWERS | _HOSTED | _OUTPUTS


class Called(NamedTuple):
    """A tool call that a model asked for."""

    id: str | None
    name: str
    arguments: Any
    run_there: bool = False
    """Whether the provider carries it out: then it hardly has a span of its own."""


@dataclass(slots=True)  # not frozen: it is filled block by block
class Said:
    """One message."""

    role: Role
    text: str = ""
    thoughts: tuple[str, ...] = ()
    calls: tuple[Called, ...] = ()
    answers: tuple[tuple[str | None, str, bool], ...] = ()
    """The call's id, its result, and whether it failed."""


def parsed(value: Any) -> Any:
    """Return the JSON value that text holds; anything else, and text that holds none, as it is."""
    if isinstance(value, str) and value[:1] in _OPENINGS:
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def said_in(value: Any, role: Role) -> list[Said]:
    """Return the messages in a value; what is no message is one by `role`."""
    value = parsed(value)
    return [said for row in _rows(value) if (said := _said(row, role)) is not None]


def unseen_in(value: Any) -> list[Said]:
    """Return what a model was sent that it had not seen when it last replied.

    That is the system messages it begins with and all after the last reply: a call is sent the
    whole conversation so far.
    """
    rows = _rows(parsed(value))
    last = next((i for i in range(len(rows) - 1, -1, -1) if _role(rows[i]) == "assistant"), -1)
    head = 0
    while head <= last and _role(rows[head]) == "system":
        head += 1
    chosen = [*rows[:head], *rows[last + 1 :]]
    return [said for row in chosen if (said := _said(row, "user")) is not None]


def plain_text(value: Any) -> str | None:
    """Return what a run's input or output says: its one text, else its JSON."""
    value = parsed(value)
    if isinstance(value, dict):
        texts = [one for one in value.values() if one not in (None, "", [], {})]
        if len(texts) == 1:
            return plain_text(texts[0])
    return json_text(value)


def _rows(value: Any) -> list[Any]:
    """Return the messages themselves, without the lists and objects that wrap them."""
    while True:
        if isinstance(value, list):
            if len(value) == 1 and isinstance(value[0], list):
                value = value[0]  # one prompt of a batch
                continue
            return value
        if not isinstance(value, dict):
            return [] if value in (None, "") else [value]
        if "role" in value or "lc" in value or _role(value) is not None:
            return [value]
        wrapper = next((name for name in _WRAPPERS if value.get(name)), None)
        if wrapper is None:
            return [json_text(value)] if value else []
        value = value[wrapper]


def _role(row: Any) -> Role | None:
    if not isinstance(row, dict):
        return None
    if (inner := _inner(row)) is not None:
        return _role(inner)
    kind = row.get("role")
    if kind is None:
        kind = row.get("type")
        if kind == "constructor" and isinstance(path := row.get("id"), list) and path:
            kind = path[-1]
    if not isinstance(kind, str):
        return None
    role = role_of(kind)
    if role is None and _is_item(row):
        role = "tool" if kind in _ANSWERS or _is_result(kind) else "assistant"
    return None if role == "remove" else cast("Role | None", role)


def _inner(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the message in a generation, a choice, Gemini's candidate, OpenInference's own."""
    inner = row.get("message")
    if inner is None and isinstance(content := row.get("content"), dict) and "parts" in content:
        inner = content
    return inner if isinstance(inner, dict) else None


def _is_item(row: Mapping[str, Any]) -> bool:
    """Whether it is an item of the Responses API, or a block that stands by itself."""
    kind = row.get("type")
    if "role" in row or not isinstance(kind, str):
        return False
    return kind in _ITEMS or _is_result(kind)


def _is_result(kind: str) -> bool:
    """Whether a block is what such a call came to."""
    return kind in _OUTPUTS or kind.endswith("tool_result")


def _said(row: Any, role: Role) -> Said | None:
    if isinstance(row, str):
        return Said(role, row) if row else None
    if not isinstance(row, dict):
        return Said(role, json_text(row) or "")
    if (inner := _inner(row)) is not None:
        return _said(inner, role)
    said = Said(_role(row) or role)
    if _is_item(row):
        _add_block(said, row)
        return said
    if "content" not in row and "parts" not in row:
        inner = row.get("kwargs", row.get("data"))
        row = inner if isinstance(inner, dict) else row
    _fill(said, row)
    if said.role == "tool" and not said.answers:
        id = row.get("tool_call_id", row.get("id"))
        failed = row.get("status") == "error" or row.get("is_error") is True
        said.answers = ((None if id is None else str(id), said.text, failed),)
    return said


def _fill(said: Said, row: Mapping[str, Any]) -> None:
    content = row.get("content")
    if content is None:
        content = row.get("parts", row.get("contents", row.get("text")))
    if isinstance(content, str):
        said.text = content
    elif isinstance(content, list):
        for block in content:
            _add_block(said, block)
    elif content is not None:
        said.text = json_text(content) or ""
    more = row.get("additional_kwargs")
    more = more if isinstance(more, dict) else {}
    for source in (row, more):
        if isinstance(thought := source.get("reasoning_content"), str) and thought:
            said.thoughts += (thought,)
    calls = row.get("tool_calls") or more.get("tool_calls")
    if isinstance(calls, list) and not said.calls:  # else the blocks told them already
        said.calls = tuple(_called(calls))


def _called(calls: list[Any]) -> Iterator[Called]:
    for call in calls:
        if not isinstance(call, dict):
            continue
        call = call.get("tool_call", call)
        inner = call.get("function", call.get("custom", call))
        inner = inner if isinstance(inner, dict) else call
        arguments = inner.get("arguments", inner.get("args", inner.get("input")))
        id = call.get("call_id") or call.get("id")  # the Responses API's items have both
        yield Called(None if id is None else str(id), str(inner.get("name") or ""), arguments)


def _add_block(said: Said, block: Any) -> None:
    if isinstance(block, str):
        said.text += block
        return
    if not isinstance(block, dict):
        return
    block = block.get("message_content", block)
    if "type" not in block:
        try:
            block = typed(block)
        except TypeError:
            return
    kind = block.get("type")
    if kind in _TEXTS:
        text = block.get("text", block.get("content"))
        said.text += text if isinstance(text, str) else ""
    elif kind in _THOUGHTS:
        thought = block.get("thinking") or block.get("reasoning") or block.get("content")
        thought = thought or flat(block.get("summary"))
        said.thoughts += (thought,) if isinstance(thought, str) and thought else ()
    elif kind in _CALLS:
        said.calls += tuple(_called([block]))
    elif kind in _ANSWERS:
        id = block.get("tool_use_id", block.get("call_id", block.get("id")))
        answer = next(
            (block[key] for key in ("response", "result", "content", "output") if key in block),
            None,
        )
        told = flat(answer) if isinstance(answer, list) else plain_text(answer) or ""
        said.answers += ((None if id is None else str(id), told, block.get("is_error") is True),)
    else:
        with contextlib.suppress(TypeError, ValueError):
            _add_hosted(said, block, str(kind))


def _add_hosted(said: Said, block: Mapping[str, Any], kind: str) -> None:
    """Add the call of a tool that the provider runs, or what it answered."""
    if kind in _HOSTED:
        call = call_of(block, "it")
        there = kind in _RUN_THERE
        said.calls += (Called(call.id or None, call.name, call.arguments, there),)
    elif _is_result(kind):
        result = answer_of(block)
        said.answers += ((result.id or None, result.text, result.failed is True),)
