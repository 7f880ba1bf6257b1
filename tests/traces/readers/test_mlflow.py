"""MLflow traces: one that MLflow 3.17 wrote, the older form, and odd ones."""

import json
from typing import Any

import pytest

from tracetune.traces.model import Message, Trace
from tracetune.traces.read import BadRecord, read_traces

T0 = 1_795_314_387_235_000_000
OK = {"code": "STATUS_CODE_OK", "message": ""}


def span(id: str, name: str, kind: str, at: int, **told: Any) -> dict[str, Any]:
    """A span as `Trace.to_json` of MLflow 3 writes it: attributes are JSON in text."""
    status = told.pop("status", OK)
    return {
        "trace_id": "grb0NFPOq/P1SZaMLRYHkg==",
        "span_id": id,
        "parent_span_id": None if kind == "AGENT" else "jGYNeet9org=",
        "name": name,
        "start_time_unix_nano": T0 + at * 1_000_000,
        "end_time_unix_nano": T0 + (at + 2) * 1_000_000,
        "events": [],
        "status": status,
        "attributes": {
            "mlflow.traceRequestId": '"tr-82b6"',
            "mlflow.spanType": json.dumps(kind),
            **{name.replace("_", ".", 1): json.dumps(one) for name, one in told.items()},
        },
        "links": [],
    }


def trace(**info: Any) -> dict[str, Any]:
    failed = {"code": "STATUS_CODE_ERROR", "message": "ValueError: no such form"}
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    said = {"role": "assistant", "content": "In room 4."}
    asked = {"messages": [{"role": "user", "content": "Where?"}]}
    return {
        "info": {
            "trace_id": "tr-82b6",
            "trace_location": {
                "type": "MLFLOW_EXPERIMENT",
                "mlflow_experiment": {"experiment_id": "0"},
            },
            "request_time": "2026-11-22T02:26:27.235Z",
            "state": "OK",
            "trace_metadata": {
                "mlflow.trace.session": "s1",
                "mlflow.trace.tokenUsage": json.dumps(usage),
                "mlflow.trace.cost": '{"input_cost": 0.001, "total_cost": 0.003}',
                "tracetune_release": "r1",
                "task": "t1",
            },
            "tags": {"mlflow.traceName": "desk", "environment": "prod"},
            "execution_duration_ms": 13,
            **info,
        },
        "data": {
            "spans": [
                span("jGYNeet9org=", "desk", "AGENT", 0, mlflow_spanInputs={"question": "Where?"}),
                span(
                    "b1",
                    "look_up",
                    "TOOL",
                    3,
                    mlflow_spanInputs={"what": "form"},
                    mlflow_spanOutputs="Room 4",
                ),
                span("b2", "look_up", "TOOL", 6, mlflow_spanInputs={"what": "bad"}, status=failed),
                {
                    **span(
                        "b3",
                        "chat",
                        "CHAT_MODEL",
                        9,
                        mlflow_spanInputs=asked,
                        mlflow_spanOutputs=said,
                    ),
                },
            ]
        },
    }


def read(record: Any) -> tuple[list[Trace], list[BadRecord]]:
    bad: list[BadRecord] = []
    return list(read_traces([record], on_bad=bad.append)), bad


def test_a_run():
    traces, bad = read(trace())

    assert bad == []
    (one,) = traces
    assert (one.id, one.agent, one.release, one.task) == ("tr-82b6", "desk", "r1", "t1")
    assert [(c.arguments, c.result, c.error) for c in one.agent_calls()] == [
        ({"what": "form"}, "Room 4", None),
        ({"what": "bad"}, None, "ValueError: no such form"),
    ]
    assert (one.steps[0], one.steps[-1]) == (
        Message("user", "Where?"),
        Message("assistant", "In room 4."),
    )
    # The one model call tells no tokens, so the trace's own sum stands.
    assert (one.tokens_in, one.tokens_out, one.cost_usd) == (10, 5, 0.003)
    assert (one.latency_s, one.success) == (0.002, None)
    assert one.labels == {"ended_by": "finished", "environment": "prod", "thread": "s1"}


@pytest.mark.parametrize(
    ("assessments", "success", "score", "feedback"),
    [
        (
            [
                {"assessment_name": "correctness", "feedback": {"value": True}, "valid": True},
                {"assessment_name": "correctness", "feedback": {"value": False}, "valid": False},
                {"assessment_name": "correctness", "feedback": {"value": None, "error": {}}},
                {"assessment_name": "topics", "feedback": {"value": ["form", "room"]}},
            ],
            True,
            None,
            {"correctness": True, "topics": '["form","room"]'},
        ),
        (
            [{"assessment_name": "correctness", "feedback": {"value": "yes"}, "rationale": "ok"}],
            True,
            None,
            {"correctness": "yes", "correctness.comment": "ok"},
        ),
        (
            [{"name": "score", "feedback": {"value": 0.2}}],
            False,
            0.2,
            {"score": 0.2},
        ),
        ([{"name": "answer", "expectation": {"value": "Room 4"}}], None, None, None),
        ([{"name": "score", "feedback": {"error": {"code": "X"}}}], None, None, None),
        (
            [{"name": "correct", "feedback": {"value": True}, "span_id": "b3"}],
            None,
            None,
            None,
        ),
    ],
    ids=["replaced", "yes", "number", "expectation", "a judge that failed", "of a single call"],
)
def test_assessments(assessments: Any, success: Any, score: Any, feedback: Any):
    ((one,), bad) = read(trace(assessments=assessments))

    assert (one.success, one.score, one.feedback, bad) == (success, score, feedback, [])


def test_a_failed_run():
    ((one,), _) = read(trace(state="ERROR"))

    assert (one.success, one.labels["ended_by"]) == (False, "error")


def test_the_form_of_mlflow_2():
    record = {
        "info": {"request_id": "q1", "timestamp_ms": T0 // 10**6, "status": "OK", "tags": {}},
        "data": {
            "spans": [
                {
                    "name": "desk",
                    "context": {"span_id": "0x1", "trace_id": "0xab"},
                    "parent_id": None,
                    "start_time": T0,
                    "end_time": T0 + 10**9,
                    "status_code": "OK",
                    "status_message": "",
                    "attributes": {"mlflow.spanType": '"CHAIN"', "mlflow.spanOutputs": '"bye"'},
                    "events": [],
                },
                {
                    "name": "t",
                    "context": {"span_id": "0x2", "trace_id": "0xab"},
                    "parent_id": "0x1",
                    "start_time": T0,
                    "end_time": T0,
                    "status_code": "ERROR",
                    "status_message": "no",
                    "attributes": {"mlflow.spanType": '"TOOL"'},
                },
            ]
        },
    }

    ((one,), bad) = read(record)

    assert (one.id, one.agent, one.latency_s, bad) == ("q1", "desk", 1.0, [])
    assert [(c.name, c.error) for c in one.agent_calls()] == [("t", "no")]
    assert one.steps[-1] == Message("assistant", "bye")


def test_a_trace_without_an_id_has_a_hash_of_its_content():
    ((one,), _) = read(trace(trace_id=None))
    ((again,), _) = read(trace(trace_id=None))

    assert (one.id, len(one.id)) == (again.id, 16)


def test_a_bad_span_is_set_aside():
    record = trace()
    record["data"]["spans"].append({"name": "x"})

    traces, bad = read(record)

    assert [t.attempts for t in traces] == [2]
    assert [b.reason for b in bad] == ["a span: it has no span_id"]
