"""Spans from OpenTelemetry attributes: GenAI, OpenInference, OpenLLMetry, LangSmith, Langfuse.

The names are those of the GenAI semantic conventions (https://github.com/open-telemetry/
semantic-conventions-genai, all in development, so older names are read too) and of OpenInference
(https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tracetune.traces.readers.base import count, dollars_in, number
from tracetune.traces.readers.said import parsed, plain_text, said_in
from tracetune.traces.readers.scores import Score
from tracetune.traces.readers.span import Kind, Span

__all__ = ["span_from"]

Attributes = Mapping[str, Any]

_KINDS: Mapping[str, Kind] = {
    "agent": "agent",
    "chat": "llm",
    "execute_tool": "tool",
    "function": "tool",
    "generate_content": "llm",
    "generation": "llm",
    "invoke_agent": "agent",
    "llm": "llm",
    "text_completion": "llm",
    "tool": "tool",
}
_WANTED = {
    "kind": (
        "openinference.span.kind",
        "gen_ai.operation.name",
        "traceloop.span.kind",
        "langsmith.span.kind",
        "langfuse.observation.type",
    ),
    "agent": ("gen_ai.agent.name", "agent.name", "graph.node.name", "traceloop.entity.name"),
    "actor": ("gen_ai.agent.name",),
    "model": ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name"),
    "tool": (
        "gen_ai.tool.name",
        "tool.name",
        "tool_call.function.name",
        "ai.toolCall.name",
        "traceloop.entity.name",
    ),
    "call_id": ("gen_ai.tool.call.id", "tool_call.id", "tool.id", "ai.toolCall.id"),
    "arguments": (
        "gen_ai.tool.call.arguments",
        "gcp.vertex.agent.tool_call_args",
        "tool_arguments",
        "ai.toolCall.args",
        "tool_call.function.arguments",
        "input.value",
        "traceloop.entity.input",
        "langfuse.observation.input",
    ),
    "result": (
        "gen_ai.tool.call.result",
        "gcp.vertex.agent.tool_response",
        "tool_response",
        "ai.toolCall.result",
        "output.value",
        "traceloop.entity.output",
        "langfuse.observation.output",
    ),
    "asked": ("gen_ai.input.messages", "input.value", "traceloop.entity.input"),
    "answered": ("gen_ai.output.messages", "output.value", "traceloop.entity.output"),
    "tokens_in": (
        "gen_ai.usage.input_tokens",
        "llm.token_count.prompt",
        "gen_ai.usage.prompt_tokens",
    ),
    "tokens_out": (
        "gen_ai.usage.output_tokens",
        "llm.token_count.completion",
        "gen_ai.usage.completion_tokens",
    ),
    "cost": ("llm.cost.total", "gen_ai.usage.cost", "gen_ai.usage.total_cost"),
}
"""By a field of `_Names`: the attributes that may tell it, the first one that is there does.

Google's ADK, Pydantic AI and Vercel's AI SDK have names of their own beside the conventions'.
"""
_ADK_INPUT, _ADK_OUTPUT = "gcp.vertex.agent.tool_call_args", "gcp.vertex.agent.tool_response"
_ADK_MERGED = "(merged tools)"
"""What Google's ADK calls the span that sums up calls made side by side."""
_WRAPPED_INPUT, _WRAPPED_OUTPUT = "traceloop.entity.input", "traceloop.entity.output"
_SENT = (
    ("gen_ai.input.messages", "llm.input_messages", "gen_ai.prompt", "input.value"),
    ("gen_ai.output.messages", "llm.output_messages", "gen_ai.completion", "output.value"),
)
_INFO_PREFIXES = ("langsmith.metadata.", "traceloop.association.properties.", "metadata.")
_INFO = frozenset(
    {
        "deployment.environment",
        "deployment.environment.name",
        "gen_ai.conversation.id",
        "reference_example_id",
        "session.id",
        "task",
        "task_id",
        "test.id",
        "thread_id",
        "tracetune.release",
        "tracetune_release",
        "tracetune_task",
    }
)
_TELLING = _INFO | {"metadata", "tag.tags"}
_EVALUATION = "gen_ai.evaluation.result"
# Of conventions before 1.28: the messages as one JSON text.
_CONTENT_EVENTS = {
    "gen_ai.content.completion": ("replied", "gen_ai.completion"),
    "gen_ai.content.prompt": ("heard", "gen_ai.prompt"),
}
_SAID_EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


class _Names(msgspec.Struct, frozen=True):
    """Which of the attributes that are there tells what; None where none does."""

    kind: str | None
    agent: str | None
    actor: str | None
    model: str | None
    tool: str | None
    call_id: str | None
    arguments: str | None
    result: str | None
    asked: str | None
    answered: str | None
    tokens_in: str | None
    tokens_out: str | None
    cost: str | None
    about_run: bool
    """Whether any tells of the whole run."""


@functools.lru_cache(256)  # a tracer's spans have the same few sets of names
def _names(present: tuple[str, ...]) -> _Names:
    names = frozenset(present)
    found = {
        field: next((name for name in wanted if name in names), None)
        for field, wanted in _WANTED.items()
    }
    return _Names(**found, about_run=not _TELLING.isdisjoint(present))


def span_from(
    span: Span, attributes: Attributes, events: Iterable[tuple[str, Attributes]] = ()
) -> Span:
    """Return the span, filled from its attributes and its events (each a name and attributes).

    Raises:
        TypeError, ValueError: A count or a cost is no number.
    """
    names = _names(tuple(attributes))
    span.kind = kind = _kind(attributes, names)
    if kind == "tool":
        _fill_tool(span, attributes, names)
    elif kind == "llm":
        _fill_model(span, attributes, names)
    else:
        _fill_outer(span, attributes, names)
    for name, more in events:
        _add_event(span, name, more)
    if span.error is None and (error := attributes.get("error.type")):
        span.error = str(error)
    if kind == "tool" and span.error is None and attributes.get("gen_ai.tool.status") == "error":
        span.error = plain_text(span.replied) or "error"
    if names.about_run or kind in ("agent", "other"):
        span.info = _info(kind, attributes)
    return span


def _kind(attributes: Attributes, names: _Names) -> Kind:
    if names.kind is not None:
        kind = _KINDS.get(str(attributes[names.kind]).lower(), "other")
        merged = kind == "tool" and attributes.get("gen_ai.tool.name") == _ADK_MERGED
        return "other" if merged else kind
    if "gen_ai.tool.name" in attributes or "ai.toolCall.name" in attributes:
        return "tool"
    if "gen_ai.request.model" in attributes or "llm.model_name" in attributes:
        return "llm"
    if attributes.get("llm.request.type") in ("chat", "completion"):  # OpenLLMetry
        return "llm"
    return "other"


def _text(value: Any) -> str | None:
    return value if value is None or type(value) is str else str(value)


def _fill_tool(span: Span, attributes: Attributes, names: _Names) -> None:
    """Fill in a tool's call, without what OpenLLMetry wraps around its arguments and result."""
    span.tool = _text(attributes[names.tool]) if names.tool else None
    span.call_id = _text(attributes[names.call_id]) if names.call_id else None
    span.agent = _text(attributes[names.actor]) if names.actor else None
    if names.arguments:
        span.heard = heard = attributes[names.arguments]
        if names.arguments == _WRAPPED_INPUT and isinstance(wrapped := parsed(heard), Mapping):
            span.heard = wrapped.get("inputs") or wrapped.get("input_str") or wrapped
    if names.result:
        span.replied = replied = attributes[names.result]
        if names.result == _WRAPPED_OUTPUT and isinstance(wrapped := parsed(replied), Mapping):
            bare = wrapped.keys() <= {"output", "kwargs"}
            span.replied = wrapped.get("output", replied) if bare else replied
    told = (names.arguments, names.result)
    if told == (_ADK_INPUT, _ADK_OUTPUT) and span.heard == span.replied == "{}":
        span.heard = span.replied = None  # so it keeps content back


def _fill_model(span: Span, attributes: Attributes, names: _Names) -> None:
    span.agent = _text(attributes[names.actor]) if names.actor else None
    span.model = _text(attributes[names.model]) if names.model else None
    span.instructions = attributes.get("gen_ai.system_instructions")
    span.heard, span.replied = (_said(attributes, *wanted) for wanted in _SENT)
    _fill_usage(span, attributes, names)


def _fill_outer(span: Span, attributes: Attributes, names: _Names) -> None:
    if names.agent and (name := _text(attributes[names.agent])):
        span.agent = name
    elif span.kind == "agent":
        # smolagents and the GenAI conventions put the verb into the span's name.
        span.agent = span.name.removesuffix(".run").removeprefix("invoke_agent ")
    span.heard = attributes[names.asked] if names.asked else None
    span.replied = attributes[names.answered] if names.answered else None
    _fill_usage(span, attributes, names)


def _fill_usage(span: Span, attributes: Attributes, names: _Names) -> None:
    if names.tokens_in:
        span.tokens_in = count(attributes[names.tokens_in], names.tokens_in)
    if names.tokens_out:
        span.tokens_out = count(attributes[names.tokens_out], names.tokens_out)
    if names.cost:
        span.cost_usd = dollars_in(attributes[names.cost], names.cost)


def _said(attributes: Attributes, whole: str, flat: str, older: str, plain: str) -> Any:
    if whole in attributes:
        return attributes[whole]
    for prefix in (flat, older):
        if rows := _unflattened(attributes, f"{prefix}."):
            return rows
    return next((attributes[name] for name in (flat, older, plain) if name in attributes), None)


def _unflattened(attributes: Attributes, prefix: str) -> list[Any]:
    """Return `prefix0.a.b = x, prefix1.c = y` as `[{"a": {"b": x}}, {"c": y}]`."""
    root: dict[str, Any] = {}
    for key, value in attributes.items():
        if key.startswith(prefix):
            at = root
            *path, last = key[len(prefix) :].split(".")
            for name in path:
                below = at.setdefault(name, {})
                if not isinstance(below, dict):
                    break  # a value and values below it: the first one stands
                at = below
            else:
                at[last] = value
    return _lists(root) if root else []


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    below = {key: _lists(one) for key, one in value.items()}
    if all(key.isdigit() for key in below):
        return [below[key] for key in sorted(below, key=int)]
    return below


def _info(kind: Kind, attributes: Attributes) -> dict[str, Any] | None:
    info = {name: attributes[name] for name in _INFO if name in attributes}
    if "tag.tags" in attributes:
        info["tags"] = attributes["tag.tags"]
    if "metadata" in attributes and isinstance(more := parsed(attributes["metadata"]), Mapping):
        info |= more
    if kind not in ("llm", "tool"):  # too many of them to look through every name
        for name, value in attributes.items():
            if name.startswith(_INFO_PREFIXES):
                prefix = next(one for one in _INFO_PREFIXES if name.startswith(one))
                info[name.removeprefix(prefix)] = value
    return info or None


def _add_event(span: Span, name: str, more: Attributes) -> None:
    if name == _EVALUATION:
        value = more.get("gen_ai.evaluation.score.value", more.get("gen_ai.evaluation.score.label"))
        key = str(more.get("gen_ai.evaluation.name") or "score")
        told = value if isinstance(value, bool | str) else number(value, f"the score {key!r}")
        comment = more.get("gen_ai.evaluation.explanation")
        span.scores = {
            **(span.scores or {}),
            key: Score(told, None if comment is None else str(comment)),
        }
    elif name == "exception":
        if span.error in ("", "error"):
            message, kind = more.get("exception.message"), more.get("exception.type")
            span.error = ": ".join(str(one) for one in (kind, message) if one) or span.error
    elif span.kind == "tool":
        # Strands tells a tool's arguments and result as messages.
        if name == "gen_ai.tool.message" and span.heard is None:
            span.heard = more.get("content")
        elif name == "gen_ai.choice" and span.replied is None:
            span.replied = "".join(said.text for said in said_in(more.get("message"), "tool"))
    elif name == "gen_ai.client.inference.operation.details":
        _fill_model(span, more, _names(tuple(more)))
    elif name in _CONTENT_EVENTS and span.kind == "llm":
        field, key = _CONTENT_EVENTS[name]
        if getattr(span, field) is None:
            setattr(span, field, more.get(key))
    elif name in _SAID_EVENTS and span.kind == "llm":
        row = {"role": _SAID_EVENTS[name], **more}
        span.heard = [*(span.heard if isinstance(span.heard, list) else []), row]
    elif name == "gen_ai.choice" and span.kind == "llm":
        row = {"role": "assistant", **more, "message": parsed(more.get("message"))}
        span.replied = [*(span.replied if isinstance(span.replied, list) else []), row]
