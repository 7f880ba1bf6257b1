"""Stratus trajectories: the real one, and lines of every odd shape."""

import json
from pathlib import Path
from typing import Any

import pytest

from tracetune.traces.model import Message, ToolCall
from tracetune.traces.read import BadRecord, read_traces

REAL = (
    "stratus/trajectories/"
    "0704_1458_service_port_conflict_hotel_reservation_stratus_agent_trajectory.jsonl"
)
RUN = Path(REAL).stem


def test_the_real_one_has_a_run_per_stage(shared_data: Path):
    bad: list[BadRecord] = []

    traces = list(read_traces(shared_data / REAL, on_bad=bad.append))

    assert bad == []
    assert [t.id for t in traces] == [
        f"{RUN}#diagnosis",
        f"{RUN}#mitigation_attempt_0",
        f"{RUN}#mitigation_attempt_1",
    ]
    assert [(t.agent, t.labels.get("attempt"), t.turns, t.attempts) for t in traces] == [
        ("diagnosis", None, 11, 18),
        ("mitigation", "0", 6, 7),
        ("mitigation", "1", 5, 5),
    ]
    assert {t.task for t in traces} == {"service_port_conflict_hotel_reservation"}
    assert {t.labels["ended_by"] for t in traces} == {"submit"}
    assert {t.labels["run"] for t in traces} == {RUN}
    assert {(t.success, t.latency_s, t.tokens_in) for t in traces} == {(None, None, None)}


def test_every_call_of_the_real_one_is_joined(shared_data: Path):
    traces = list(read_traces(shared_data / REAL))
    calls = [call for trace in traces for call in trace.agent_calls()]
    lines = [json.loads(line) for line in (shared_data / REAL).read_text().splitlines()]
    said = [message for line in lines for message in line.get("messages", ())]

    assert len(calls) == sum(len(message.get("tool_calls") or ()) for message in said) == 30
    assert all(call.result is not None or call.error is not None for call in calls)
    assert [call.error for call in calls if call.error] == [
        "Command Rejected (ValueError): Pipe commands are forbidden"
    ]


def event(stage: str, *said: str, **more: Any) -> dict[str, Any]:
    messages = [{"type": "AIMessage", "content": text} for text in said]
    return {"type": "event", "stage": stage, "num_steps": len(said), "messages": messages} | more


def start(stage: str) -> dict[str, Any]:
    return {"type": "stage_start", "stage": stage, "num_events": 1}


META = {"type": "metadata", "problem_id": "p", "timestamp": "0704", "total_stages": 1}


@pytest.mark.parametrize(
    ("lines", "runs"),
    [
        pytest.param(
            [META, start("diagnosis"), event("diagnosis", "a"), event("diagnosis", "a", "b")],
            {"p_0704#diagnosis": ["a", "b"]},
            id="the last event of a stage counts",
        ),
        pytest.param(
            [
                META,
                start("diagnosis"),
                event("diagnosis", "a"),
                start("rollback_attempt_2"),
                event("rollback_attempt_2", "b"),
            ],
            {"p_0704#diagnosis": ["a"], "p_0704#rollback_attempt_2": ["b"]},
            id="each stage is a run",
        ),
        pytest.param(
            [META, *2 * [start("diagnosis"), event("diagnosis", "a")]],
            {"p_0704#diagnosis": ["a"], "p_0704#diagnosis#2": ["a"]},
            id="a stage that ran twice is two runs",
        ),
        pytest.param(
            [META, start("d"), event("d", "a"), META | {"problem_id": "q"}, event("d", "b")],
            {"p_0704#d": ["a"], "q_0704#d": ["b"]},
            id="each metadata line begins a trajectory",
        ),
    ],
)
def test_stages(lines: list[Any], runs: dict[str, list[str]]):
    traces = read_traces(lines)

    assert {
        t.id: [step.text for step in t.steps if isinstance(step, Message)] for t in traces
    } == runs


def test_newer_files_tell_tokens_times_and_ids():
    usage = {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6}
    call = {"name": "get", "args": {}, "id": "c1", "type": "tool_call"}
    messages = [
        {"type": "AIMessage", "content": "", "tool_calls": [call], "usage_metadata": usage},
        {"type": "ToolMessage", "content": "error: no pods", "tool_call_id": "c1", "name": "get"},
    ]
    at = "2026-07-04T15:00:0"
    lines = [
        start("diagnosis") | {"timestamp": f"{at}1+00:00"},
        event("diagnosis", submitted=False, messages=messages, timestamp=f"{at}4+00:00"),
    ]

    (trace,) = read_traces(lines)

    assert trace.steps == (ToolCall("get", {}, error="error: no pods"),)
    assert (trace.tokens_in, trace.tokens_out, trace.latency_s) == (5, 1, 3.0)
    assert str(trace.started_at) == "2026-07-04 15:00:01+00:00"
    assert (trace.task, trace.labels.get("ended_by")) == (None, None)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([META, start("diagnosis")], "stage diagnosis: it holds no event"),
        ([event("diagnosis", messages=3)], "stage diagnosis: messages is 3, expected a list"),
        ([event("diagnosis", num_steps="x")], "stage diagnosis: num_steps is 'x', expected a"),
        ([event("diagnosis", submitted=3)], "stage diagnosis: submitted is 3, expected true or"),
        ([event("", "a")], "stage is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_stage_is_set_aside(lines: list[Any], reason: str):
    bad: list[BadRecord] = []

    assert not list(read_traces(lines, format="trajectory", on_bad=bad.append))
    assert [reason in b.reason for b in bad] == [True]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(event("b", "y", timestamp="noon"), "timestamp is 'noon'", id="no time"),
        pytest.param(event("b", "y") | {"stage": None}, "stage is missing", id="no stage"),
        pytest.param([1], "the line is [1], expected an object", id="no object"),
    ],
)
def test_a_wrong_line_is_set_aside_and_its_neighbours_are_read(
    tmp_path: Path, line: Any, reason: str
):
    path = tmp_path / "t.jsonl"
    lines = [event("a", "x"), line, event("b", "z")]
    path.write_text("\n".join(map(json.dumps, lines)))
    bad: list[BadRecord] = []

    traces = list(read_traces(path, format="trajectory", on_bad=bad.append))

    assert [trace.agent for trace in traces] == ["a", "b"]
    assert len(bad) == 1
    assert reason in bad[0].reason
