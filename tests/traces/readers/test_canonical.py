"""The canonical form, there and back, and what it refuses."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tracetune.traces.model import Message, Thought, ToolCall, Trace
from tracetune.traces.read import BadRecord, read_traces

FULL = Trace(
    id="1",
    agent="email",
    release="r1",
    task="t",
    started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    latency_s=1.5,
    success=False,
    score=0.25,
    feedback={"tone": "too harsh", "stars": 2},
    steps=(
        Message("user", "hi"),
        Thought("hm"),
        ToolCall("send", {"to": "x"}, error="refused", latency_s=0.1),
        ToolCall("look", result="", by="user"),
    ),
    turns=4,
    tokens_in=10,
    tokens_out=2,
    cost_usd=0.01,
    failure_kind="agent",
    labels={"ended_by": "stop"},
)


@pytest.mark.parametrize(
    "trace",
    [
        pytest.param(FULL, id="everything known"),
        pytest.param(Trace(id="1", agent="a"), id="nothing known"),
    ],
)
def test_a_canonical_trace_reads_back_as_itself(trace: Trace):
    assert list(read_traces([trace.to_dict()])) == [trace]


def test_null_means_unknown_as_a_missing_key_does():
    row = {"id": "1", "agent": "a", "labels": None, "success": None}
    call = {"kind": "tool_call", "name": "t", "arguments": None, "by": None}

    (trace,) = read_traces([{**row, "steps": [call]}])

    assert trace == Trace(id="1", agent="a", steps=(ToolCall("t"),))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"succes": True}, "succes is no key of a canonical trace"),
        ({"success": "yes"}, "success is 'yes', expected true or false"),
        ({"success": 1}, "success is 1, expected true or false"),
        ({"latency_s": -1}, "latency_s is -1, expected a finite number of at least 0"),
        ({"score": float("nan")}, "score is nan, expected a finite number"),
        ({"attempts": 1.5}, "attempts is 1.5, expected a whole number of at least 0"),
        ({"labels": {"n": 1}}, "labels.n is 1, expected text"),
        ({"labels": ["x"]}, "labels is ['x'], expected an object"),
        ({"failure_kind": "me"}, "failure_kind is 'me', expected one of agent, user"),
        ({"started_at": "soon"}, "Invalid isoformat string: 'soon'"),
        ({"steps": {}}, "steps is {}, expected a list"),
        ({"steps": ["x"]}, "steps[1] is 'x', expected an object"),
        ({"steps": [{"kind": "dance"}]}, "steps[1].kind is 'dance'"),
        ({"steps": [{"kind": []}]}, "steps[1].kind is []"),
        ({"failure_kind": {}}, "failure_kind is {}"),
        ({"steps": [{"kind": "thought", "txt": ""}]}, "steps[1].txt is no key"),
        ({"steps": [{"kind": "tool_call", "name": 3}]}, "steps[1].name is 3"),
        ({"steps": [{"kind": "message", "role": "x", "text": ""}]}, "steps[1].role is 'x'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_canonical_trace_is_set_aside(change: dict[str, Any], reason: str):
    bad: list[BadRecord] = []

    assert not list(read_traces([{"id": "1", "agent": "a", **change}], on_bad=bad.append))
    assert reason in bad[0].reason
