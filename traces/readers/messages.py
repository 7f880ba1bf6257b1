"""Chat messages, one run per record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracetune.traces.model import Trace
from tracetune.traces.readers.base import Context, Reader, as_list, content_hash, looks_said, text
from tracetune.traces.readers.canonical import fields_of
from tracetune.traces.readers.chat import read_chat

__all__ = ["MESSAGES"]


def matches(record: Any) -> bool:
    """A record with `messages`, or a bare list of messages."""
    if isinstance(record, Mapping):
        return "messages" in record
    return isinstance(record, list | tuple) and bool(record) and looks_said(record[0])


def read(record: Any, context: Context) -> Iterator[Trace]:
    """Yield the one trace; keys that are not of the form are not read."""
    row = record if isinstance(record, Mapping) else {"messages": record}
    said = as_list(row["messages"], "messages")
    if not said:
        raise ValueError("messages is empty")
    if system := row.get("system"):  # Anthropic's requests keep it beside the messages
        said = [{"role": "system", "content": system}, *said]
    chat = read_chat(said, agent=text(row.get("agent"), "agent"))
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
    id = text(row.get("id"), "id") or content_hash(record)
    yield Trace(id=id, agent=chat.agent or "agent", steps=chat.steps, **values)


MESSAGES = Reader("messages", matches, read)
