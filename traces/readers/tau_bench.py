"""τ-bench result files: a list of runs, each with its task, its reward and its messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from tracetune.traces.model import Message, Step, ToolCall, Trace
from tracetune.traces.readers.base import (
    Context,
    Reader,
    arguments_of,
    as_list,
    as_mapping,
    number,
    shown,
    text,
)

__all__ = ["TAU_BENCH"]

# The benchmark stops a run after this many steps of the agent, unless told otherwise.
_MAX_STEPS = 30
_PASSED = 1.0 - 1e-6
_STOP = "###STOP###"
_TRANSFER = "transfer_to_human_agents"
_FAILED = "Error:"
_POLICY = re.compile(r"\s*#\s*(\w+) agent policy", re.IGNORECASE)


def matches(record: Any) -> bool:
    """A run holds its task, its reward and its trajectory."""
    return isinstance(record, Mapping) and {"task_id", "reward", "traj"} <= record.keys()


def read(record: Any, context: Context) -> Iterator[Trace]:
    """Yield the one trace; a run that crashed the benchmark is infrastructure's failure."""
    run = as_mapping(record, "the record")
    task, trial = text(run.get("task_id"), "task_id"), text(run.get("trial"), "trial")
    if task is None:
        raise KeyError("task_id")
    messages = [
        as_mapping(message, f"traj[{index}]")
        for index, message in enumerate(as_list(run["traj"], "traj"), 1)
    ]
    crash = text(as_mapping(run.get("info"), "info").get("error"), "info.error")
    reward = number(run["reward"], "reward")
    turns = sum(message.get("role") == "assistant" for message in messages)
    labels = {
        "domain": domain if (domain := _domain(messages)) else None,
        "ended_by": "error" if crash is not None else _ended_by(messages, turns),
        "error": crash,
        "trial": trial,
    }
    yield Trace(
        id=task if trial is None else f"{task}/{trial}",
        agent=domain or "agent",
        task=task,
        success=None if reward is None else reward >= _PASSED,
        score=reward,
        steps=tuple(_steps(messages)),
        turns=turns if messages else None,
        failure_kind="unknown" if crash is None else "infrastructure",
        labels={name: value for name, value in labels.items() if value is not None},
    )


def _domain(messages: list[Mapping[str, Any]]) -> str | None:
    """Return what the policy in the system prompt is headed as, such as "airline"."""
    first = messages[0] if messages else {}
    said = first.get("content") if first.get("role") == "system" else None
    found = _POLICY.match(said) if isinstance(said, str) else None
    return found.group(1).lower() if found else None


def _ended_by(messages: list[Mapping[str, Any]], turns: int) -> str | None:
    """Return what ended the run, as far as its messages show it."""
    last = messages[-1] if messages else {}
    if last.get("role") == "user" and _STOP in str(last.get("content")):
        return "user_stop"
    if last.get("role") == "tool" and last.get("name") == _TRANSFER:
        return _TRANSFER
    return "max_steps" if turns == _MAX_STEPS else None


def _steps(messages: list[Mapping[str, Any]]) -> list[Step]:
    steps: list[Step] = []
    waiting: list[tuple[str | None, int]] = []
    for index, message in enumerate(messages, 1):
        role, where = message.get("role"), f"traj[{index}]"
        said = text(message.get("content"), f"{where}.content")
        if role == "tool":
            _answer(steps, waiting, text(message.get("tool_call_id"), where), said or "", where)
        elif role in ("assistant", "user", "system"):
            if said:
                steps.append(Message(role, said))
            for call in as_list(message.get("tool_calls"), f"{where}.tool_calls"):
                made = as_mapping(call, f"{where}.tool_calls")
                waiting.append((text(made.get("id"), f"{where}.tool_calls.id"), len(steps)))
                steps.append(_call(made, where, "user" if role == "user" else "agent"))
        else:
            raise ValueError(
                f"{where}.role is {shown(role)}, expected system, user, assistant or tool"
            )
    return steps


def _call(call: Mapping[str, Any], where: str, by: Literal["agent", "user"]) -> ToolCall:
    function = as_mapping(call.get("function"), f"{where}.tool_calls.function")
    if not (name := text(function.get("name"), f"{where}.tool_calls.name")):
        raise ValueError(f"{where}.tool_calls: a call names no tool")
    return ToolCall(name, arguments_of(function.get("arguments")), by=by)


def _answer(
    steps: list[Step], waiting: list[tuple[str | None, int]], id: str | None, said: str, where: str
) -> None:
    at = next((step for call, step in waiting if call == id), None)
    call = None if at is None else steps[at]
    if at is None or not isinstance(call, ToolCall):
        raise ValueError(f"{where} answers the call {shown(id)}, which was not made")
    failed = said.startswith(_FAILED)
    result, error = (None, said) if failed else (said, None)
    steps[at] = ToolCall(call.name, call.arguments, result, error, by=call.by)
    waiting.remove((id, at))


TAU_BENCH = Reader("tau_bench", matches, read)
