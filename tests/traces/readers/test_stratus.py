"""Stratus traces: the real ones, split and joined with their outcomes, and wrong ones."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tracetune.traces.model import Thought, ToolCall, Trace
from tracetune.traces.read import BadRecord, read_traces

RUN = "stratus/agent-traces/run_20251202_054810"


@pytest.fixture(scope="module")
def traces(shared_data: Path) -> list[Trace]:
    return list(read_traces(shared_data / "stratus/agent-traces"))


def test_every_run_of_every_agent_and_its_true_outcome(shared_data: Path):
    bad: list[BadRecord] = []

    traces = list(read_traces(shared_data / "stratus/agent-traces", on_bad=bad.append))

    assert bad == []
    assert Counter((t.agent, t.success) for t in traces) == {
        ("diagnosis", True): 3,
        ("diagnosis", False): 20,
        ("diagnosis", None): 4,
        ("mitigation", True): 9,
        ("mitigation", False): 6,
        ("mitigation", None): 12,
        ("rollback", None): 3,
    }
    assert len({t.id for t in traces}) == len(traces)


def test_no_call_and_no_thought_is_lost(traces: list[Trace], shared_data: Path):
    files = (shared_data / "stratus/agent-traces").rglob("diagnosis_*.json")
    rows = [json.loads(path.read_text()) for path in files]

    assert sum(t.attempts or 0 for t in traces) == sum(len(row["tool_calls"]) for row in rows)
    thoughts = sum(isinstance(step, Thought) for t in traces for step in t.steps)
    assert thoughts == sum(len(row["thinking_steps"]) for row in rows)


def test_each_agent_has_only_its_own_tools(traces: list[Trace]):
    tools: dict[str, set[str]] = {}
    for trace in traces:
        tools.setdefault(trace.agent, set()).update(c.name for c in trace.agent_calls())

    assert tools["rollback"] == {"rollback_command", "r_submit_tool"}
    assert tools["diagnosis"] & {"exec_kubectl_cmd_safely", "f_submit_tool"} == set()
    assert tools["mitigation"] & {"exec_read_only_kubectl_cmd", "submit_tool"} == set()
    assert all(
        [c.name for c in t.agent_calls()][-1] == "submit_tool"
        for t in traces
        if t.agent == "diagnosis"
    )


def test_latency_is_each_agents_own(traces: list[Trace]):
    (mine, mitigation, rollback) = (
        t for t in traces if t.task == "misconfig_app_hotel_res" and t.labels["run"] == "054810"
    )

    # The whole problem took 380.3 s; the agents' spans, with the gaps between them left out:
    assert (mine.agent, round(mine.latency_s or 0, 1)) == ("diagnosis", 16.1)
    assert (mitigation.agent, round(mitigation.latency_s or 0, 1)) == ("mitigation", 244.2)
    assert (rollback.agent, round(rollback.latency_s or 0, 1)) == ("rollback", 3.9)
    assert mitigation.id == f"{mine.id}#mitigation"
    assert rollback.id == f"{mine.id}#rollback"
    assert (mine.turns, mitigation.turns, rollback.turns) == (5, 21, 2)
    assert isinstance(rollback.steps[0], Thought)


def test_a_crash_is_blamed_on_infrastructure_and_on_no_earlier_agent(traces: list[Trace]):
    crashed = [t for t in traces if t.failure_kind == "infrastructure"]

    assert [t.agent for t in crashed] == ["mitigation"] * 4
    assert {t.success for t in crashed} == {None}
    assert {t.labels["error"][:11] for t in crashed} == {"unhandled e", "Max retries"}


def test_without_learning_results_success_is_unknown(shared_data: Path, tmp_path: Path):
    for path in (shared_data / RUN).glob("diagnosis_*.json"):
        shutil.copy(path, tmp_path)

    assert {t.success for t in read_traces(tmp_path)} == {None}


def test_broken_learning_results_are_reported_and_success_is_unknown(
    shared_data: Path, tmp_path: Path
):
    for path in (shared_data / RUN).glob("diagnosis_valkey*.json"):
        shutil.copy(path, tmp_path)
    (tmp_path / "learning_results.json").write_text('{"results": 3}')
    bad: list[BadRecord] = []

    traces = list(read_traces(f"{tmp_path}/diagnosis_*", on_bad=bad.append))

    assert [(t.agent, t.success) for t in traces] == [("diagnosis", None), ("mitigation", None)]
    assert [b.reason for b in bad] == ["outcomes stay unknown: results is 3, expected a list"]


def call(tool: str, at: float, **more: Any) -> dict[str, Any]:
    return {"tool_name": tool, "timestamp": at, "arguments": {}, "success": True, **more}


def recorded(*calls: Any, agent: str = "AgentType.DIAGNOSIS", **more: Any) -> dict[str, Any]:
    return {"trace_id": "x", "agent_type": agent, "start_time": 0.0, "tool_calls": calls, **more}


@pytest.mark.parametrize(
    ("record", "agents"),
    [
        pytest.param(
            recorded(call("get_traces", 1), call("submit_tool", 2)),
            {"x": ["get_traces", "submit_tool"]},
            id="one agent stays one trace",
        ),
        pytest.param(
            recorded(call("wait_tool", 1), call("f_submit_tool", 2), agent="AgentType.MITIGATION"),
            {"x": ["wait_tool", "f_submit_tool"]},
            id="another agent's file stays one trace",
        ),
        pytest.param(
            recorded(call("get_traces", 1), call("exec_kubectl_cmd_safely", 2)),
            {"x": ["get_traces"], "x#mitigation": ["exec_kubectl_cmd_safely"]},
            id="a diagnosis that never submitted ends at a tool it does not have",
        ),
        pytest.param(
            recorded(
                call("submit_tool", 1),
                call("get_previous_rollbackable_cmd", 2),
                call("wait_tool", 3),
                call("r_submit_tool", 4),
                call("wait_tool", 5),
            ),
            {
                "x": ["submit_tool"],
                "x#rollback": ["get_previous_rollbackable_cmd", "wait_tool", "r_submit_tool"],
                "x#mitigation": ["wait_tool"],
            },
            id="waiting belongs to the agent that is at work",
        ),
    ],
)
def test_splitting(record: dict[str, Any], agents: dict[str, list[str]]):
    traces = read_traces([record])

    assert {t.id: [c.name for c in t.agent_calls()] for t in traces} == agents


def test_a_call_began_its_duration_before_its_stamp():
    record = recorded(call("get_traces", 5.0, duration=2.0, success=False, response="no"))

    (trace,) = read_traces([record])

    (step,) = trace.steps
    assert isinstance(step, ToolCall)
    assert step.started_at is not None
    assert step.started_at.timestamp() == 3.0
    assert (step.latency_s, step.result, step.error) == (2.0, None, "no")
    assert (trace.latency_s, trace.success) == (5.0, None)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (recorded(), "it holds no tool calls and no thoughts"),
        (recorded(3), "tool_calls[1] is 3, expected an object"),
        (recorded({"tool_name": "t"}), "tool_calls[1].timestamp is missing"),
        (recorded({"timestamp": 1}), "the key 'tool_name' is missing"),
        (recorded(call("t", 1, success="yes")), "tool_calls[1].success is 'yes'"),
        (recorded(call("t", 1e30)), "tool_calls[1].timestamp is 1e+30"),
        (recorded(call("t", 1), thinking_steps="x"), "thinking_steps is 'x'"),
        (recorded(call("t", 1), trace_id=None), "trace_id is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_record_is_set_aside(record: dict[str, Any], reason: str):
    bad: list[BadRecord] = []

    assert not list(read_traces([record], on_bad=bad.append))
    assert reason in bad[0].reason


def test_a_command_that_was_refused_is_an_error_though_its_tool_did_not_raise(traces: list[Trace]):
    errors = [call.error for t in traces for call in t.agent_calls() if call.error]
    refused = Counter(error.split(" ")[0] for error in errors)

    # Each of these is marked as a success in its file.
    assert (refused["Command"], refused["Dry-run"]) == (29, 24)
    assert len(errors) == 71


@pytest.mark.parametrize(
    ("response", "failed"),
    [
        ("Command Rejected (ValueError): Pipe commands are forbidden", True),
        ("Dry-run failed. Potentially it's an invalid command.", True),
        ("error: the server doesn't have a resource type", True),
        ("Error from server (NotFound): pods not found", True),
        ("NAME  STATUS\nweb  Error", False),
        (None, False),
    ],
    ids=str,
)
def test_how_refusals_begin(response: str | None, failed: bool):
    (trace,) = read_traces([recorded(call("kubectl", 1.0, response=response))])

    (step,) = trace.agent_calls()
    assert (step.error, step.result) == ((response, None) if failed else (None, response))
