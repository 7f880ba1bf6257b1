"""Chat messages, one run per record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast, get_args

from tracetune.traces.model import FailureKind, Trace
from tracetune.traces.readers.base import (
    Context,
    Reader,
    as_list,
    as_mapping,
    content_hash,
    count,
    flag,
    looks_said,
    moment,
    number,
    text,
)
from tracetune.traces.readers.chat import Chat, read_chat

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
    turns = count(row.get("turns"), "turns")
    tokens_in = count(row.get("tokens_in"), "tokens_in")
    tokens_out = count(row.get("tokens_out"), "tokens_out")
    yield Trace(
        id=text(row.get("id"), "id") or content_hash(record),
        agent=chat.agent or "agent",
        release=text(row.get("release"), "release") or chat.release,
        task=text(row.get("task"), "task"),
        started_at=moment(row.get("started_at"), "started_at"),
        latency_s=number(row.get("latency_s"), "latency_s", least=0),
        success=flag(row.get("success"), "success"),
        score=number(row.get("score"), "score"),
        feedback=_feedback(row.get("feedback")),
        steps=chat.steps,
        turns=chat.calls if turns is None else turns,
        tokens_in=chat.tokens_in if tokens_in is None else tokens_in,
        tokens_out=chat.tokens_out if tokens_out is None else tokens_out,
        cost_usd=number(row.get("cost_usd"), "cost_usd", least=0),
        failure_kind=_failure_kind(row.get("failure_kind")),
        labels=_labels(row.get("labels"), chat),
    )


def _feedback(value: Any) -> str | Mapping[str, Any] | None:
    if value is None or isinstance(value, str | Mapping):
        return value
    raise TypeError(f"feedback is {value!r:.40}, expected text or an object")


def _failure_kind(value: Any) -> FailureKind:
    if value is None:
        return "unknown"
    if value not in (known := get_args(FailureKind)):
        raise ValueError(f"failure_kind is {value!r:.40}, expected one of {', '.join(known)}")
    return cast(FailureKind, value)


def _labels(value: Any, chat: Chat) -> dict[str, str]:
    labels = {"ended_by": chat.ended_by, **as_mapping(value, "labels")}
    return {name: str(label) for name, label in labels.items() if label is not None}


MESSAGES = Reader("messages", matches, read)
