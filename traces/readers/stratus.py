"""Stratus AgentTrace files, with the outcomes that its `learning_results.json` knows.

What such a file says of its own success is not used: it was looked up under the wrong name.
A file may also hold the calls of the agents that ran after its own, so it is split.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tracetune.errors import TraceError
from tracetune.traces.model import Step, Thought, ToolCall, Trace
from tracetune.traces.readers.base import (
    UNUSABLE,
    Context,
    Reader,
    as_list,
    as_mapping,
    flag,
    moment,
    reason_of,
    seconds_in,
    text,
)
from tracetune.traces.readers.files import json_records

__all__ = ["REFUSED", "STRATUS"]

REFUSED = re.compile(r"Command Rejected\b|Dry-run failed\b|Error from server\b|error: ")
"""As Stratus' kubectl tools begin when they refuse a command, or it fails: they do not raise."""

_RESULTS = ("learning_results.json", "learning_results.json.gz")
_SUBMITS = {"submit_tool": "diagnosis", "f_submit_tool": "mitigation", "r_submit_tool": "rollback"}
_ROLLBACK = {"rollback_command", "get_previous_rollbackable_cmd", "r_submit_tool"}
# No diagnosis agent has these: from the first one on, another agent is at work.
_FOREIGN = _ROLLBACK | {"exec_kubectl_cmd_safely", "f_submit_tool"}


def matches(record: Any) -> bool:
    """An agent's trace, or the results file that stands beside the traces of a run."""
    if not isinstance(record, Mapping):
        return False
    return {"trace_id", "agent_type", "tool_calls"} <= record.keys() or _is_results(record)


def read(record: Any, context: Context) -> Iterator[Trace]:
    """Yield one trace per agent that ran; nothing for a results file."""
    row = as_mapping(record, "the record")
    if _is_results(row):
        return
    if not (id := text(row["trace_id"], "trace_id")):
        raise ValueError("trace_id is empty")
    own = (text(row.get("agent_type"), "agent_type") or "agent").rpartition(".")[2].lower()
    events = _events(row)
    if not events:
        raise ValueError("it holds no tool calls and no thoughts")
    outcome = _outcomes(context).get(id, {})
    agents = _agents(own, events)
    for agent in dict.fromkeys(agents):
        yield _trace(row, id if agent == own else f"{id}#{agent}", agent, events, agents, outcome)


@dataclass(frozen=True, slots=True)
class _Event:
    """A step with its times; Stratus stamps a call when it ends, a thought when it is written."""

    began: datetime
    ended: datetime
    step: Step

    @property
    def tool(self) -> str | None:
        return self.step.name if isinstance(self.step, ToolCall) else None


def _is_results(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("results"), list) and "problem_count" in record


def _events(row: Mapping[str, Any]) -> list[_Event]:
    thoughts = [
        _thought(as_mapping(thought, f"thinking_steps[{index}]"), f"thinking_steps[{index}]")
        for index, thought in enumerate(as_list(row.get("thinking_steps"), "thinking_steps"), 1)
    ]
    calls = [
        _call(as_mapping(call, f"tool_calls[{index}]"), f"tool_calls[{index}]")
        for index, call in enumerate(as_list(row.get("tool_calls"), "tool_calls"), 1)
    ]
    return sorted([*thoughts, *calls], key=lambda event: event.ended)


def _thought(row: Mapping[str, Any], where: str) -> _Event:
    at = _stamp(row, where)
    return _Event(at, at, Thought(text(row.get("reasoning"), f"{where}.reasoning") or ""))


def _call(row: Mapping[str, Any], where: str) -> _Event:
    ended = _stamp(row, where)
    took = seconds_in(row.get("duration"), f"{where}.duration")
    response = row.get("response")
    said = response if isinstance(response, str | None) else json.dumps(response)
    failed = flag(row.get("success"), f"{where}.success") is False
    failed = failed or REFUSED.match(said or "") is not None
    if not (name := text(row["tool_name"], f"{where}.tool_name")):
        raise ValueError(f"{where}.tool_name is empty")
    began = ended - timedelta(seconds=took or 0.0)
    step = ToolCall(
        name=name,
        arguments=as_mapping(row.get("arguments"), f"{where}.arguments"),
        result=None if failed else said,
        error=(said or "failed") if failed else None,
        started_at=began,
        latency_s=took,
    )
    return _Event(began, ended, step)


def _stamp(row: Mapping[str, Any], where: str) -> datetime:
    if (at := moment(row.get("timestamp"), f"{where}.timestamp")) is None:
        raise ValueError(f"{where}.timestamp is missing")
    return at


def _agents(own: str, events: list[_Event]) -> list[str]:
    """Return whose each event is: a thought belongs to the call that it led to."""
    tools = [event.tool for event in events]
    if own != "diagnosis" or not _FOREIGN & set(tools):
        return [own] * len(events)
    agents: list[str] = []
    thoughts = 0
    diagnosing, rolling = True, False
    for tool in tools:
        if tool is None:
            thoughts += 1
            continue
        diagnosing = diagnosing and tool not in _FOREIGN
        rolling = tool in _ROLLBACK or (rolling and tool == "wait_tool")
        agent = "diagnosis" if diagnosing else "rollback" if rolling else "mitigation"
        agents += [agent] * (thoughts + 1)
        thoughts = 0
        # A submission ends its agent's run.
        diagnosing = diagnosing and tool != "submit_tool"
        rolling = rolling and tool != "r_submit_tool"
    trailing = "diagnosis" if diagnosing else "rollback" if rolling else "mitigation"
    return agents + [trailing] * thoughts


def _trace(
    row: Mapping[str, Any],
    id: str,
    agent: str,
    events: list[_Event],
    agents: list[str],
    outcome: Mapping[str, Any],
) -> Trace:
    mine = [event for event, whose in zip(events, agents, strict=True) if whose == agent]
    # All agents' files share the problem's start, so it is only the first agent's own.
    start = moment(row.get("start_time"), "start_time") if agent == "diagnosis" else None
    calls = sum(event.tool is not None for event in mine)
    graded = as_mapping(outcome.get("conductor_results"), "conductor_results")
    verdict = as_mapping(graded.get(agent.capitalize()), agent.capitalize())
    crash = text(outcome.get("error"), "error") if agents[-1] == agent else None
    submitted = _SUBMITS.get(mine[-1].tool or "") == agent
    ended_by = "submit" if submitted else "error" if crash else None
    problem = as_mapping(row.get("problem_context"), "problem_context")
    labels = {"ended_by": ended_by, "error": crash, "run": outcome.get("run_id")}
    return Trace(
        id=id,
        agent=agent,
        task=text(problem.get("problem_id"), "problem_context.problem_id"),
        started_at=start or mine[0].began,
        latency_s=_latency(events, agents, agent, start),
        success=flag(verdict.get("success"), f"{agent.capitalize()}.success"),
        feedback={key: value for key, value in verdict.items() if key != "success"} or None,
        steps=tuple(event.step for event in mine),
        attempts=calls,
        turns=calls,
        failure_kind="infrastructure" if crash else "unknown",
        labels={name: str(value) for name, value in labels.items() if value is not None},
    )


def _latency(events: list[_Event], agents: list[str], agent: str, start: datetime | None) -> float:
    """Return the seconds the agent worked, without those of agents that ran in between."""
    total = 0.0
    numbered = zip(events, agents, strict=True)
    for whose, stretch in itertools.groupby(numbered, key=lambda pair: pair[1]):
        spans = [event for event, _ in stretch]
        if whose == agent:
            began = min(start or spans[0].began, spans[0].began)
            total += (spans[-1].ended - began).total_seconds()
            start = None
    return total


def _outcomes(context: Context) -> Mapping[str, Mapping[str, Any]]:
    """Return each problem's result by trace id, from the results file of the traces' run."""
    if context.path is None:
        return {}
    folder = context.path.parent
    if folder not in context.memo:
        context.memo[folder] = {}
        try:
            # A run keeps its traces in a folder of their own, below its results.
            places = (folder, folder.parent) if folder.name == "traces" else (folder,)
            for path in (place / name for place in places for name in _RESULTS):
                if path.is_file():
                    context.memo[folder] |= _load(path)
        except (TraceError, *UNUSABLE) as error:
            context.set_aside(f"outcomes stay unknown: {reason_of(error)}")
    found: Mapping[str, Mapping[str, Any]] = context.memo[folder]
    return found


def _load(path: Path) -> dict[str, Mapping[str, Any]]:
    by_id: dict[str, Mapping[str, Any]] = {}
    for _, record in json_records(path):
        run = as_mapping(record, path.name)
        for result in as_list(run.get("results"), "results"):
            row = {**as_mapping(result, "results"), "run_id": run.get("run_id")}
            ids = as_mapping(row.get("trace_ids"), "trace_ids").values()
            by_id |= {str(id): row for id in ids}
    return by_id


STRATUS = Reader("stratus", matches, read)
