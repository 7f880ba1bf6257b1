"""τ²-bench result files: one JSON object whose `simulations` are the runs of one agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tracetune.traces.model import FailureKind, Message, Step, Thought, ToolCall, Trace
from tracetune.traces.readers.base import (
    UNUSABLE,
    Context,
    Reader,
    as_list,
    as_mapping,
    count,
    dollars_in,
    moment,
    number,
    reason_of,
    seconds_in,
    shown,
    text,
)

__all__ = ["TAU2"]

# Only endings that by themselves name the culprit: running out of steps may be anyone's doing.
_BLAME: Mapping[str, FailureKind] = {
    "agent_error": "agent",
    "infrastructure_error": "infrastructure",
    "user_error": "user",
}
_PASSED = 1.0 - 1e-6


def matches(record: Any) -> bool:
    """A result file holds its simulations."""
    return isinstance(record, Mapping) and isinstance(record.get("simulations"), list)


def read(record: Any, context: Context) -> Iterator[Trace]:
    """Yield one trace per simulation; simulations that cannot be used are set aside."""
    info = as_mapping(as_mapping(record, "the record").get("info"), "info")
    environment = as_mapping(info.get("environment_info"), "info.environment_info")
    domain = text(environment.get("domain_name"), "info.environment_info.domain_name")
    if "simulations" not in record:
        raise KeyError("simulations")
    for index, simulation in enumerate(as_list(record["simulations"], "simulations"), 1):
        try:
            yield _trace(as_mapping(simulation, "the simulation"), domain)
        except UNUSABLE as error:
            context.set_aside(f"simulations[{index}]: {reason_of(error)}")


def _trace(run: Mapping[str, Any], domain: str | None) -> Trace:
    messages = [
        as_mapping(message, f"messages[{index}]")
        for index, message in enumerate(as_list(run.get("messages"), "messages"), 1)
    ]
    score = number(as_mapping(run.get("reward_info"), "reward_info").get("reward"), "reward")
    success = None if score is None else score >= _PASSED
    ended_by = text(run.get("termination_reason"), "termination_reason")
    labels = {"domain": domain, "ended_by": ended_by, "trial": text(run.get("trial"), "trial")}
    return Trace(
        id=text(run["id"], "id") or _no("id"),
        agent=domain or "agent",
        task=text(run.get("task_id"), "task_id"),
        started_at=moment(run.get("start_time"), "start_time"),
        latency_s=seconds_in(run.get("duration"), "duration"),
        success=success,
        score=score,
        steps=tuple(_steps(messages)),
        turns=_turns(messages),
        tokens_in=_tokens(messages, "prompt_tokens"),
        tokens_out=_tokens(messages, "completion_tokens"),
        # Its cost table says 0 for every model it does not know.
        cost_usd=dollars_in(run.get("agent_cost"), "agent_cost") or None,
        failure_kind="unknown" if success else _BLAME.get(ended_by or "", "unknown"),
        labels={name: value for name, value in labels.items() if value is not None},
    )


def _no(name: str) -> str:
    raise ValueError(f"{name} is empty")


@dataclass(slots=True)
class _Open:
    """A call whose result has not come yet; ids may repeat, so it is matched by order too."""

    at: int
    id: str | None
    call: Mapping[str, Any]
    by: Literal["agent", "user"]
    asked_at: datetime | None = field(default=None)

    def close(self, result: Mapping[str, Any] | None, since: datetime | None) -> ToolCall:
        content = None if result is None else text(result.get("content"), "content") or ""
        failed = result is not None and result.get("error") is True
        ended = None if result is None else moment(result.get("timestamp"), "timestamp")
        # Calls of one message run one after the other: each begins when the last one ended.
        began = since or self.asked_at
        took = (ended - began).total_seconds() if ended and began else None
        return ToolCall(
            name=text(self.call["name"], "tool_calls.name") or _no("tool_calls.name"),
            arguments=as_mapping(self.call.get("arguments"), "tool_calls.arguments"),
            result=None if failed else content,
            error=(content or "error") if failed else None,
            started_at=began,
            latency_s=took if took is not None and took >= 0 else None,
            by=self.by,
        )


def _steps(messages: list[Mapping[str, Any]]) -> list[Step]:
    steps: list[Step] = []
    waiting: list[_Open] = []
    since: datetime | None = None
    for message in messages:
        role, at = message.get("role"), moment(message.get("timestamp"), "timestamp")
        if role == "tool":
            done = _answered(waiting, text(message.get("id"), "id"))
            steps[done.at] = done.close(message, since)
        elif role in ("assistant", "user", "system"):
            steps += _said(message, role)
            for call in as_list(message.get("tool_calls"), "tool_calls"):
                call = as_mapping(call, "tool_calls")
                by: Literal["agent", "user"] = (
                    "user" if call.get("requestor") == "user" else "agent"
                )
                waiting.append(_Open(len(steps), text(call.get("id"), "id"), call, by, at))
                steps.append(waiting[-1].close(None, None))
        else:
            raise ValueError(f"role is {shown(role)}, expected system, user, assistant or tool")
        since = at
    return steps


def _answered(waiting: list[_Open], id: str | None) -> _Open:
    for index, call in enumerate(waiting):
        if call.id == id:
            return waiting.pop(index)
    raise ValueError(f"a tool result names the call {shown(id)}, which was not made")


def _said(
    message: Mapping[str, Any], role: Literal["assistant", "user", "system"]
) -> Iterator[Step]:
    if thought := text(message.get("reasoning"), "reasoning"):
        yield Thought(thought)
    if content := text(message.get("content"), "content"):
        yield Message(role, content)


def _turns(messages: list[Mapping[str, Any]]) -> int | None:
    """Return the orchestrator's step count, which is what its `max_steps` limits.

    A message is a step, and so are all results of one message's calls together; the message
    a run opens with is none. The limit is looked at only once results are in, so a run that
    is stopped by it may count one step more: 201 where `max_steps` is 200.
    """
    roles = [message.get("role") for message in messages]
    groups = sum(
        1
        for last, role in zip([None, *roles], roles, strict=False)
        if role != "tool" or last != "tool"
    )
    return groups - 1 if groups else None


def _tokens(messages: list[Mapping[str, Any]], key: str) -> int | None:
    """Return the sum over the agent's messages, or None unless all that a model wrote tell it."""
    written = [m for i, m in enumerate(messages) if m.get("role") == "assistant" and i]
    counts = [count(as_mapping(m.get("usage"), "usage").get(key), f"usage.{key}") for m in written]
    known = [tokens for tokens in counts if tokens is not None]
    return sum(known) if known and len(known) == len(counts) else None


TAU2 = Reader("tau2", matches, read)
