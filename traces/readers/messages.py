"""Chat messages, one run per record, in the forms OpenAI, LangChain and Anthropic write.

LangChain converts the messages. Before it does, tool calls are brought into its own form,
because one call whose arguments are not JSON would make it refuse the whole run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast, get_args

from tracetune.traces.model import FailureKind, Message, Step, Thought, ToolCall, Trace
from tracetune.traces.readers.base import (
    Context,
    Reader,
    as_list,
    as_mapping,
    count,
    flag,
    looks_said,
    moment,
    number,
    text,
)

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

__all__ = ["MESSAGES"]

UNPARSED = "unparsed"
"""The one argument of a call whose arguments were not a JSON object: their text."""


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
    messages = _converted(said)
    yield Trace(
        id=text(row.get("id"), "id") or _hash(record),
        agent=text(row.get("agent"), "agent") or "agent",
        release=text(row.get("release"), "release"),
        task=text(row.get("task"), "task"),
        started_at=moment(row.get("started_at"), "started_at"),
        latency_s=number(row.get("latency_s"), "latency_s", least=0),
        success=flag(row.get("success"), "success"),
        score=number(row.get("score"), "score"),
        feedback=_feedback(row.get("feedback")),
        steps=tuple(_steps(messages)),
        turns=count(row.get("turns"), "turns"),
        tokens_in=_tokens(row, messages, "tokens_in", "input_tokens"),
        tokens_out=_tokens(row, messages, "tokens_out", "output_tokens"),
        cost_usd=number(row.get("cost_usd"), "cost_usd", least=0),
        failure_kind=_failure_kind(row.get("failure_kind")),
        labels=_labels(row.get("labels")),
    )


def _hash(record: Any) -> str:
    def plain(value: Any) -> Any:
        dump = getattr(value, "model_dump", None)
        return dump() if dump else str(value)

    content = json.dumps(record, sort_keys=True, ensure_ascii=False, default=plain)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:16]


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


def _labels(value: Any) -> dict[str, str]:
    labels = as_mapping(value, "labels")
    return {name: str(label) for name, label in labels.items() if label is not None}


def _tokens(
    row: Mapping[str, Any], messages: list[BaseMessage], name: str, usage: str
) -> int | None:
    """Return what the record says, else the sum over all model replies if each one tells it."""
    if (told := count(row.get(name), name)) is not None:
        return told
    replies = [message for message in messages if message.type == "ai"]
    used = [
        getattr(m, "usage_metadata", None) or m.additional_kwargs.get("usage_metadata") or {}
        for m in replies
    ]
    known = [tokens for each in used if (tokens := count(each.get(usage), usage)) is not None]
    return sum(known) if known and len(known) == len(replies) else None


def _converted(said: list[Any]) -> list[BaseMessage]:
    from langchain_core.messages import convert_to_messages, messages_from_dict

    if all(isinstance(one, Mapping) and {"type", "data"} <= one.keys() for one in said):
        return messages_from_dict([dict(one) for one in said])
    prepared = [
        _prepared(dict(one), f"messages[{index}]") if isinstance(one, Mapping) else one
        for index, one in enumerate(said, 1)
    ]
    try:
        return convert_to_messages(prepared)
    except NotImplementedError as error:
        raise TypeError(str(error)) from None


def _prepared(message: dict[str, Any], where: str) -> dict[str, Any]:
    if message.get("lc"):
        return message
    if str(kind := message.get("type")).endswith("Message"):
        message["type"] = str(kind).removesuffix("Message").lower()
    calls = as_list(message.get("tool_calls"), f"{where}.tool_calls")
    if old := message.pop("function_call", None):
        calls.append({"function": old})
    if calls:
        message["tool_calls"] = [
            _call(as_mapping(call, f"{where}.tool_calls"), where) for call in calls
        ]
    else:
        message.pop("tool_calls", None)
    role = message.get("role", message.get("type"))
    if role == "function":
        message["role"] = "tool"
    if role in ("function", "tool") and message.get("tool_call_id") is None:
        message["tool_call_id"] = ""
    return message


def _call(call: Mapping[str, Any], where: str) -> dict[str, Any]:
    inner = as_mapping(call.get("function", call), f"{where}.tool_calls.function")
    name = text(inner.get("name"), f"{where}.tool_calls.name")
    if not name:
        raise ValueError(f"{where}.tool_calls: a call names no tool")
    args = inner.get("args", inner.get("arguments"))
    id = text(call.get("id"), f"{where}.tool_calls.id")
    return {"name": name, "args": _arguments(args), "id": id or "", "type": "tool_call"}


def _arguments(args: Any) -> Mapping[str, Any]:
    if args is None or args == "":
        return {}
    if isinstance(args, str):
        try:
            parsed = json.loads(args, strict=False)
        except (ValueError, RecursionError):
            return {UNPARSED: args}
        return parsed if isinstance(parsed, dict) else {UNPARSED: args}
    return args if isinstance(args, Mapping) else {UNPARSED: json.dumps(args)}


def _steps(messages: list[BaseMessage]) -> list[Step]:
    steps: list[Step] = []
    waiting: list[tuple[int, str]] = []
    for message in messages:
        if message.type == "tool":
            status = getattr(message, "status", "success")
            id = str(getattr(message, "tool_call_id", ""))
            _answer(steps, waiting, id, message.name, str(message.text), status == "error")
            continue
        for block in _blocks(message, "tool_result"):
            id = str(block.get("tool_use_id", ""))
            _answer(
                steps, waiting, id, None, _flat(block.get("content")), bool(block.get("is_error"))
            )
        steps += _spoken(message)
        for id, call in _calls(message):
            waiting.append((len(steps), id))
            steps.append(call)
    return steps


def _spoken(message: BaseMessage) -> Iterator[Step]:
    roles = {"ai": "assistant", "human": "user", "system": "system", "developer": "system"}
    role = roles.get(message.type) or str(getattr(message, "role", message.type))
    if role not in ("assistant", "user", "system"):
        raise ValueError(f"a message's role is {role!r}, expected system, user, assistant or tool")
    thoughts = [message.additional_kwargs.get("reasoning_content")]
    thoughts += [b.get("thinking") for b in _blocks(message, "thinking")]
    yield from (Thought(thought) for thought in thoughts if isinstance(thought, str) and thought)
    if said := str(message.text):
        yield Message(cast(Any, role), said)


def _calls(message: BaseMessage) -> Iterator[tuple[str, ToolCall]]:
    """Yield the id and the call of each tool call, wherever the provider put it."""
    made = getattr(message, "tool_calls", [])
    for call in made:
        yield call.get("id") or "", ToolCall(call["name"], call["args"], error=_fault(call["args"]))
    for call in getattr(message, "invalid_tool_calls", []):
        args = {UNPARSED: call.get("args") or ""}
        yield call.get("id") or "", ToolCall(call.get("name") or "", args, error=_fault(args))
    if not made:
        for block in _blocks(message, "tool_use"):
            given = _arguments(block.get("input"))
            yield str(block.get("id", "")), ToolCall(str(block["name"]), given, error=_fault(given))


def _fault(args: Mapping[str, Any]) -> str | None:
    return "its arguments are no JSON object" if args.keys() == {UNPARSED} else None


def _answer(
    steps: list[Step],
    waiting: list[tuple[int, str]],
    id: str,
    name: str | None,
    said: str,
    failed: bool,
) -> None:
    """Join a result with the call it names; results without an id answer in order."""
    result, error = (None, said or "error") if failed else (said, None)
    for index, (at, waits_for) in enumerate(waiting):
        if waits_for == id or not id:
            call = steps[at]
            assert isinstance(call, ToolCall)
            steps[at] = ToolCall(call.name, call.arguments, result, error or call.error)
            del waiting[index]
            return
    # Its call was cut from the history; that the tool was used is still known.
    steps.append(ToolCall(name or "unknown", result=result, error=error))


def _blocks(message: BaseMessage, kind: str) -> list[Mapping[str, Any]]:
    content = message.content if isinstance(message.content, list) else []
    return [block for block in content if isinstance(block, dict) and block.get("type") == kind]


def _flat(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = [as_mapping(block, "content") for block in as_list(content, "content")]
    return "".join(str(block.get("text", "")) for block in blocks)


MESSAGES = Reader("messages", matches, read)
