"""The steps of a run, from its spans of model and tool calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tracetune.traces.model import MAX_LATENCY_S, Message, Step, Thought, ToolCall
from tracetune.traces.readers.base import UNPARSED, arguments_of, json_text
from tracetune.traces.readers.said import Called, Said, parsed, plain_text, said_in, unseen_in
from tracetune.traces.readers.span import Span

__all__ = ["arguments_in", "began", "result_in", "seconds", "steps_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WRAPPED = frozenset({"args", "kwargs", "sanitize_inputs_outputs"})


def began(span: Span) -> datetime | None:
    """Return when a span started, to the microsecond, in UTC."""
    return None if span.start is None else _EPOCH + timedelta(0, 0, span.start // 1000)


def seconds(span: Span) -> float | None:
    """Return how long a span took; None when it has no end, or its times cannot be right."""
    start, end = span.start, span.end
    if start is None or end is None:
        return None
    took = (end - start) / 1e9
    return took if 0 <= took <= MAX_LATENCY_S else None


def steps_of(spans: list[tuple[Span, str | None]]) -> list[tuple[Span, Step]]:
    """Return the steps in order, each with the span it came from.

    Args:
        spans: Model and tool calls in order, each with the agent that made it: None for the
            run's own.
    """
    steps = _Steps(spans)
    for span, agent in spans:
        if span.kind == "tool":
            steps.add_tool(span, agent)
        else:
            steps.add_model(span, agent)
    return steps.done


class _Steps:
    """The steps so far, and what the next ones depend on."""

    def __init__(self, placed: list[tuple[Span, str | None]]) -> None:
        self.done: list[tuple[Span, Step]] = []
        self._seen: set[tuple[str | None, str, str]] = set()
        self._waiting: dict[str, int] = {}
        self._asked: dict[str, Any] = {}
        """The arguments of calls by their ids: a tool's own span may not tell them."""
        self._nameless: dict[str | None, list[int]] = {}
        """The calls without an id of each agent's last reply, which are answered in order."""
        self._after_tool: set[str | None] = set()
        self._placed = placed
        self._ids: dict[str | None, set[str | None]] | None = None
        self._tools: set[str | None] = set()

    def add_tool(self, span: Span, agent: str | None) -> None:
        result, error = result_in(span.replied)
        error = span.error or error
        id = span.call_id or ""
        if id and result is None and error is None:
            self._waiting[id] = len(self.done)
        call = ToolCall(
            span.tool or span.name,
            arguments_in(self._asked.get(id) if span.heard is None else span.heard),
            None if error is not None else result,
            error,
            began(span),
            seconds(span),
            "agent",
            agent,
        )
        self.done.append((span, call))
        self._after_tool.add(agent)

    def add_model(self, span: Span, agent: str | None) -> None:
        for said in said_in(span.instructions, "system") if span.instructions else ():
            self._say(span, agent, "system", said.text)
        # After a tool a call is sent that tool's result, and what was said before.
        known = agent in self._after_tool and not self._waiting
        for said in unseen_in(span.heard) if span.heard and not known else ():
            if said.answers:
                self._answer(said, agent)
            elif said.role == "system":
                self._say(span, agent, "system", said.text)
            elif said.role == "user" and agent not in self._after_tool:
                # After a tool it is how some frameworks hand its result to the model.
                self._say(span, agent, "user", said.text)
        self._after_tool.discard(agent)
        self._nameless.pop(agent, None)
        for said in said_in(span.replied, "assistant") if span.replied else ():
            self._reply(span, agent, said)

    def _say(self, span: Span, agent: str | None, role: Any, text: str) -> None:
        # Two calls may be sent the same words, as where one routes and one responds.
        if text and (agent, role, text) not in self._seen:
            self._seen.add((agent, role, text))
            self.done.append((span, Message(role, text, agent)))

    def _reply(self, span: Span, agent: str | None, said: Said) -> None:
        self.done += [(span, Thought(thought, agent)) for thought in said.thoughts]
        if said.text:
            self.done.append((span, Message("assistant", said.text, agent)))
        for call in said.calls:
            if call.id:
                self._asked[call.id] = call.arguments
            if call.name and self._untold(call, agent):
                if call.id:
                    self._waiting[call.id] = len(self.done)
                else:
                    self._nameless.setdefault(agent, []).append(len(self.done))
                arguments = arguments_in(call.arguments)
                self.done.append((span, ToolCall(call.name, arguments, agent=agent)))
        self._answer(said, agent)  # by a tool that the provider runs itself

    def _untold(self, call: Called, agent: str | None) -> bool:
        """Whether no span tells of a call; spans without ids may be of any of the calls."""
        if self._ids is None:  # seldom asked for
            self._ids = {}
            for span, actor in self._placed:
                if span.kind == "tool":
                    self._ids.setdefault(actor, set()).add(span.call_id)
                    self._tools.add(span.tool or span.name)
        ids = self._ids.get(agent)
        if call.run_there and ids:
            return call.id not in ids and not (None in ids and call.name in self._tools)
        return not ids or (call.id is not None and None not in ids and call.id not in ids)

    def _answer(self, said: Said, agent: str | None) -> None:
        for id, result, failed in said.answers:
            nameless = self._nameless.get(agent) if id is None else None
            at = self._waiting.pop(id, None) if id else nameless.pop(0) if nameless else None
            if at is not None:
                span, call = self.done[at]
                assert isinstance(call, ToolCall)
                self.done[at] = (
                    span,
                    replace(call, error=result or "error")
                    if failed
                    else replace(call, result=result),
                )


def arguments_in(value: Any) -> Mapping[str, Any]:
    """Return a call's arguments as an object; text that holds none is its `input`."""
    value = parsed(value)
    if isinstance(value, dict):
        named = value.get("kwargs")
        if isinstance(named, dict) and value.keys() <= _WRAPPED and not value.get("args"):
            return named  # smolagents
        if len(value) == 1 and isinstance(value.get("input"), str):
            return arguments_in(value["input"])  # LangChain keeps them as text
        return value
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        given = _python_object(value) if value.startswith("{'") else arguments_of(value)
        return {"input": value} if given is None or given.keys() == {UNPARSED} else given
    return {"input": value}


def _python_object(value: str) -> Mapping[str, Any] | None:
    """Return the dict that Python's own text of it stands for: some tracers write that."""
    import ast

    if len(value) > 100_000:  # its parser needs memory many times that
        return None
    try:
        found = ast.literal_eval(value)
    except (MemoryError, RecursionError, SyntaxError, ValueError):
        return None
    return found if isinstance(found, dict) and all(isinstance(k, str) for k in found) else None


def result_in(value: Any) -> tuple[str | None, str | None]:
    """Return a tool's result and its error, whichever there is; a message's text is its result."""
    if isinstance(value, str) and '"tool_call_id"' not in value:
        return value, None  # most results: not worth parsing
    value = parsed(value)
    if isinstance(value, dict) and value.keys() == {"output"}:
        value = value["output"]
    if isinstance(value, dict) and ("tool_call_id" in value or "lc" in value):
        answers = [answer for said in said_in(value, "tool") for answer in said.answers]
        if len(answers) == 1:
            _, result, failed = answers[0]
            return (None, result or "error") if failed else (result, None)
    return (json_text(value) if not isinstance(value, dict) else plain_text(value)), None
