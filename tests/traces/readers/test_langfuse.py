"""Langfuse: exported observations with their scores beside them, and what its API gives."""

import json
from pathlib import Path
from typing import Any

import pytest

from tracetune.traces.model import Message, Trace
from tracetune.traces.read import BadRecord, read_traces

Row = dict[str, Any]


def seen(id: str, type: str, second: int, **more: Any) -> Row:
    """An observation as the export of `observations_v2` has it: empty text is null."""
    return {
        "id": id,
        "trace_id": "t",
        "project_id": "p",
        "environment": "prod",
        "type": type,
        "parent_observation_id": "" if id == "root" else "root",
        "start_time": f"2026-05-29 13:46:{second:02}.500000",
        "end_time": f"2026-05-29 13:46:{second + 1:02}.000000",
        "latency": 500,
        "name": id,
        "level": "DEFAULT",
        "status_message": "",
        "trace_name": "desk",
        "session_id": "s1",
        "tags": ["b", "a"],
        "metadata": {"tracetune_release": "r1", "task_id": "t1"},
        **more,
    }


OBSERVATIONS = [
    seen("root", "SPAN", 0, end_time="2026-05-29 13:46:09.500000"),
    seen(
        "chat",
        "GENERATION",
        1,
        input='[{"role": "user", "content": "Where?"}]',
        output='{"role": "assistant", "content": "Let me see."}',
        usage_details={"input": "10", "output": 5, "total": 15},
        total_cost="0.002",
        provided_model_name="m",
    ),
    seen("look_up", "TOOL", 3, input='{"what": "form"}', output="Room 4"),
    seen("mail", "TOOL", 5, input="{}", level="ERROR", status_message="refused"),
]


def score(name: str, value: Any, **more: Any) -> Row:
    row = {"id": name, "trace_id": "t", "observation_id": "", "name": name, "value": value}
    return {**row, "string_value": "", "data_type": "NUMERIC", "comment": "", **more}


def read(source: Any) -> tuple[list[Trace], list[BadRecord]]:
    bad: list[BadRecord] = []
    return list(read_traces(source, on_bad=bad.append)), bad


def write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows))


def check(trace: Trace) -> None:
    assert (trace.id, trace.agent, trace.release, trace.task) == ("t", "desk", "r1", "t1")
    assert [(c.name, c.arguments, c.result, c.error) for c in trace.agent_calls()] == [
        ("look_up", {"what": "form"}, "Room 4", None),
        ("mail", {}, None, "refused"),
    ]
    assert [s.text for s in trace.steps if isinstance(s, Message)] == ["Where?", "Let me see."]
    assert (trace.tokens_in, trace.tokens_out, trace.cost_usd) == (10, 5, 0.002)
    # The export's own `latency` was in milliseconds once, and is not read.
    assert (trace.latency_s, next(trace.agent_calls()).latency_s) == (9.0, 0.5)
    assert trace.labels == {
        "ended_by": "finished",
        "environment": "prod",
        "model": "m",
        "tags": "a,b",
        "thread": "s1",
    }


def test_an_export_with_scores_in_their_own_folder(tmp_path: Path):
    write(tmp_path / "observations_v2" / "1.jsonl", OBSERVATIONS)
    write(
        tmp_path / "scores" / "1.jsonl",
        [
            score("correctness", 1, comment="right room"),
            score("tone", 0, string_value="warm", data_type="CATEGORICAL"),
            score("speed", 0.1, observation_id="look_up"),
        ],
    )

    ((trace,), bad) = read(tmp_path)

    assert bad == []
    check(trace)
    assert (trace.success, trace.score) == (True, 1)
    assert trace.feedback == {
        "correctness": 1,
        "correctness.comment": "right room",
        "tone": "warm",
    }


def test_the_older_export_keeps_traces_in_their_own_folder_too(tmp_path: Path):
    gone = ("trace_name", "session_id", "tags", "metadata", "environment")
    bare = [{k: v for k, v in row.items() if k not in gone} for row in OBSERVATIONS]
    trace = {k: OBSERVATIONS[0][k] for k in gone if k != "trace_name"}
    trace |= {"id": "t", "name": "desk", "timestamp": "2026-05-29 13:46:00.500000"}
    write(tmp_path / "observations" / "1.jsonl", bare)
    write(tmp_path / "traces" / "1.jsonl", [trace])

    traces, bad = read(tmp_path)

    assert bad == []
    (one,) = traces
    check(one)


def test_a_trace_as_the_api_gives_it():
    def camel(row: Row) -> Row:
        def name(one: str) -> str:
            first, *rest = one.split("_")
            return first + "".join(word.capitalize() for word in rest)

        return {name(k): v for k, v in row.items() if v != ""}

    trace = {
        "id": "t",
        "name": "desk",
        "timestamp": "2026-05-29T13:46:00.500Z",
        "observations": [camel(row) for row in OBSERVATIONS],
        "scores": [camel(score("success", 1.0, data_type="BOOLEAN", string_value="True"))],
    }

    ((one,), bad) = read([trace])

    assert bad == []
    check(one)
    assert (one.success, one.score) == (True, None)


def test_a_trace_without_observations_is_a_run_that_was_not_looked_into():
    trace = {
        "id": "t",
        "name": "desk",
        "timestamp": "2026-05-29T13:46:00Z",
        "sessionId": "s",
        "input": {"q": "Where?"},
        "output": "Room 4",
    }

    ((one,), bad) = read([trace])

    assert (one.agent, one.latency_s, one.labels, bad) == ("desk", None, {"thread": "s"}, [])
    assert one.steps == (Message("user", "Where?"), Message("assistant", "Room 4"))


def test_scores_alone_are_no_traces(tmp_path: Path):
    write(tmp_path / "scores" / "1.jsonl", [score("correctness", 1)])

    assert read(tmp_path) == ([], [])


def test_an_agent_within_the_trace_is_a_sub_agent():
    rows = [*OBSERVATIONS, seen("clerk", "AGENT", 6), seen("file", "TOOL", 7)]
    rows[-1]["parent_observation_id"] = "clerk"

    (whole, part), _ = read(rows)

    assert (whole.agent, part.agent) == ("desk", "clerk")
    assert [c.agent for c in whole.agent_calls()] == [None, None, "clerk"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (seen("", "TOOL", 1), "a span: it has no id"),
        (seen("x", "TOOL", 1, start_time="soon"), "a span: start_time is 'soon', expected ISO"),
        (seen("x", "GENERATION", 1, usage_details={"input": -1}), "a span: input is -1, expected"),
    ],
)
def test_a_bad_observation_is_set_aside(row: Row, reason: str):
    traces, bad = read([*OBSERVATIONS, row])

    assert [t.attempts for t in traces] == [2]
    assert [b.reason.startswith(reason) for b in bad] == [True]


def test_a_broken_file_of_scores_is_reported_and_the_outcome_is_unknown(tmp_path: Path):
    write(tmp_path / "observations_v2" / "1.jsonl", OBSERVATIONS)
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "1.jsonl").write_text("oops")

    traces, bad = read(tmp_path / "observations_v2")

    assert [t.success for t in traces] == [None]
    assert [b.reason.startswith("scores stay unknown: ") for b in bad] == [True]


def test_the_roots_metadata_comes_before_that_of_its_parts():
    root = seen("root", "SPAN", 0, metadata={"task_id": "t1"})
    part = seen("look_up", "TOOL", 3, metadata={"task_id": "step 2", "tracetune_release": "r1"})

    (trace,), bad = read([root, part])

    assert bad == []
    assert (trace.task, trace.release) == ("t1", "r1")


def test_what_a_cache_held_counts_as_read():
    usage = {"input": 5, "input_cached_tokens": 100, "output": 3, "output_reasoning_tokens": 20}
    chat = seen("chat", "GENERATION", 1, usage_details={**usage, "total": 128})

    (trace,), _ = read([seen("root", "SPAN", 0), chat])

    assert (trace.tokens_in, trace.tokens_out) == (105, 23)


def test_a_judge_that_failed_decides_nothing():
    scores = [score("correctness", None, comment="no answer"), score("user_score", 1)]

    (trace,), _ = read([seen("root", "SPAN", 0), *scores])

    assert (trace.success, trace.score) == (True, 1)
    assert trace.feedback == {"correctness": "no answer", "user_score": 1}
