"""Chat messages, one run per record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracetune.traces.model import Trace
from tracetune.traces.readers.base import Context, Reader, as_list, is_gemini, looks_said, text
from tracetune.traces.readers.canonical import fields_of
from tracetune.traces.readers.chat import read_chat

__all__ = ["MESSAGES"]


def matches(record: Any) -> bool:
    """A record with `messages`, or Gemini's `contents`; or a bare list of messages."""
    if isinstance(record, Mapping):
        return "messages" in record or is_gemini(record)
    return isinstance(record, list | tuple) and bool(record) and looks_said(record[0])


def read(record: Any, context: Context) -> Iterator[Trace]:
    """Yield the one trace; keys that are not of the form are not read."""
    row = record if isinstance(record, Mapping) else {"messages": record}
    name = "contents" if is_gemini(row) else "messages"
    said = as_list(row[name], name)
    if not said:
        raise ValueError(f"{name} is empty")
    chat = read_chat([*_system(row), *said], agent=text(row.get("agent"), "agent"))
    values = fields_of({name: value for name, value in row.items() if name != "attempts"})
    told = {
        "release": chat.release,
        "turns": chat.calls,
        "tokens_in": chat.tokens_in,
        "tokens_out": chat.tokens_out,
    }
    values |= {name: value for name, value in told.items() if values[name] in (None, "")}
    if chat.ended_by is not None:
        values["labels"] = {"ended_by": chat.ended_by, **values["labels"]}
    for unread in chat.unread():
        context.set_aside(unread)
    id = text(row.get("id"), "id") or context.id_of(record)
    yield Trace(id=id, agent=chat.agent or "agent", steps=chat.steps, **values)


def _system(row: Mapping[str, Any]) -> list[Any]:
    """Return the system's message where a request keeps it beside the others."""
    for name in ("system", "systemInstruction", "system_instruction"):
        if told := row.get(name):
            if isinstance(told, Mapping) and "parts" in told:
                return [{"role": "system", "parts": told["parts"]}]
            return [{"role": "system", "content": told}]
    return []


MESSAGES = Reader("messages", matches, read)
