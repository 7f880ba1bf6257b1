"""Foreign records by mapping: the real files by the shipped mappings, and all that may be wrong."""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tracetune.errors import TraceError
from tracetune.traces.model import Message, Thought, ToolCall, Trace
from tracetune.traces.read import BadRecord, read_traces


def shipped(repo: Path, name: str) -> Path:
    return repo / "examples" / "mappings" / f"{name}.yaml"


def mapped(record: Any, mapping: dict[str, Any]) -> Trace:
    (trace,) = read_traces([record], mapping=mapping, strict=True)
    return trace


@pytest.mark.parametrize(
    ("name", "file", "solved", "errors", "calls"),
    [
        ("intercode", "sql-gpt-3.5-plain", 489, 4023, 7499),
        ("intercode-plan-solve", "sql-gpt-3.5-plan-solve", 508, 819, 4435),
    ],
)
def test_intercode_is_read_by_a_mapping_file_alone(
    repo: Path, shared_data: Path, name: str, file: str, solved: int, errors: int, calls: int
):
    path = shared_data / "intercode" / f"{file}.json.gz"

    traces = list(read_traces(path, mapping=shipped(repo, name), strict=True))

    assert len({trace.id for trace in traces}) == len(traces) == 1034
    assert sum(trace.success is True for trace in traces) == solved
    assert {trace.agent for trace in traces} == {"sql"}
    made = [call for trace in traces for call in trace.agent_calls()]
    assert len(made) == calls
    assert sum(call.error is not None for call in made) == errors
    assert all(trace.turns == trace.attempts for trace in traces)


def test_intercode_keeps_the_plan_and_what_was_run(repo: Path, shared_data: Path):
    path = shared_data / "intercode" / "sql-gpt-3.5-plan-solve.json.gz"

    trace = next(read_traces(path, mapping=shipped(repo, "intercode-plan-solve")))

    assert (trace.id, trace.task, trace.labels) == ("852", "852", {"hardness": "extra"})
    assert trace.steps[0] == Message(
        "user", "Which owner owns the most dogs? List the owner id, first name and last name."
    )
    assert trace.steps[1] == Thought("Check what tables are available for use.")
    assert trace.steps[2] == ToolCall(
        "sql",
        {"query": "SHOW TABLES"},
        "[('breeds',), ('charges',), ('dogs',), ('owners',), ('professionals',), ('sizes',), "
        "('treatment_types',), ('treatments',)]",
    )


def test_who_and_when_is_read_by_a_mapping_file_alone(repo: Path, shared_data: Path):
    path = shared_data / "who-and-when" / "algorithm-generated.jsonl.gz"

    traces = list(read_traces(path, mapping=shipped(repo, "who-and-when"), strict=True))

    assert len({trace.id for trace in traces}) == len(traces) == 126
    assert {trace.success for trace in traces} == {False}
    assert all(trace.feedback for trace in traces)
    speakers = Counter(step.agent for trace in traces for step in trace.steps)
    assert speakers.most_common(2) == [("Computer_terminal", 303), ("Verification_Expert", 125)]
    assert speakers[None] == 0
    guilty = [
        trace.steps[int(trace.labels["guilty_step"])].agent == trace.labels["guilty_agent"]
        for trace in traces
    ]
    assert sum(guilty) >= 120


RECORD = {
    "run": {"no": 7, "ok": "true", "grade": "0.5", "notes": '{"stars": 2}'},
    "bad": "(",
    "began": "2026-11-21T09:00:00",
    "ended": "2026-11-21T10:00:04+01:00",
    "log": [
        {"who": "me", "said": "hi", "how": "SAY"},
        {"who": "bot", "said": None, "how": "SAY"},
        {"who": "bot", "said": {"deep": [1]}, "how": "say"},
    ],
    "calls": {"names": ["a", "b"], "ok": [True, False], "out": [3]},
    "chat": [{"role": "user", "content": "hi"}],
}


@pytest.mark.parametrize(
    ("mapping", "field", "value"),
    [
        ({"id": "run.no"}, "id", "7"),
        ({"agent": "'desk'"}, "agent", "desk"),
        ({}, "agent", "agent"),
        ({"success": "run.ok"}, "success", True),
        ({"success": "run.grade == '0.5'"}, "success", True),
        ({"success": "run.grade == `0.5`"}, "success", True),
        ({"success": "run.grade > `0.5`"}, "success", False),
        ({"success": "run.gone == `1`"}, "success", None),
        ({"success": "run.gone != `1`"}, "success", None),
        ({"success": "run.gone == `null`"}, "success", True),
        ({"success": "began == `1`"}, "success", False),
        ({"success": "run.ok == `1`"}, "success", False),
        ({"success": False}, "success", False),
        ({"score": "run.grade"}, "score", 0.5),
        ({"score": 2}, "score", 2),
        ({"latency_s": "seconds(began, ended)"}, "latency_s", 4.0),
        ({"latency_s": "seconds(began, gone)"}, "latency_s", None),
        ({"feedback": "json(run.notes)"}, "feedback", {"stars": 2}),
        ({"feedback": {"stars": "run.no"}}, "feedback", {"stars": 7}),
        ({"labels": {"no": "run.no", "gone": "gone"}}, "labels", {"no": "7"}),
        ({"labels": "{how: lower(log[0].how)}"}, "labels", {"how": "say"}),
        ({"task": 'get(`{"me": "user"}`, log[0].who)'}, "task", "user"),
        ({"task": "extract(began, '^([0-9]+)-')"}, "task", "2026"),
        ({"task": "extract(began, '^[0-9]+-')"}, "task", "2026-"),
        ({"task": "extract(began, 'x')"}, "task", None),
        ({"success": "matches(began, '^2026')"}, "success", True),
        ({"success": "matches(gone, 'x')"}, "success", None),
        ({"attempts": "length(items(run))"}, "attempts", 4),
        ({"task": "to_string(items(log)[1].key)"}, "task", "1"),
    ],
    ids=str,
)
def test_an_expression_finds_a_field(mapping: dict[str, Any], field: str, value: Any):
    assert getattr(mapped(RECORD, {"id": "'1'"} | mapping), field) == value


@pytest.mark.parametrize(
    ("steps", "made"),
    [
        pytest.param(
            "log[].{kind: 'message', role: 'assistant', text: said, agent: who}",
            [
                Message("assistant", "hi", "me"),
                Message("assistant", '{"deep":[1]}', "bot"),
            ],
            id="a list by one expression, and none where nothing was said",
        ),
        pytest.param(
            [{"each": "log", "steps": [{"kind": "thought", "text": "said", "when": "how=='say'"}]}],
            [Thought('{"deep":[1]}')],
            id="only when",
        ),
        pytest.param(
            [
                {
                    "each": "zip({name: calls.names, ok: calls.ok, out: calls.out, x: gone})",
                    "steps": [
                        {
                            "kind": "tool_call",
                            "name": "name",
                            "result": "out",
                            "error": "ok == `false`",
                            "arguments": {"n": "out"},
                        }
                    ],
                },
                "log[2].{kind: 'thought', text: how}",
            ],
            [
                ToolCall("a", {"n": 3}, "3"),
                ToolCall("b", {"n": None}, error="failed"),
                Thought("say"),
            ],
            id="parallel lists zipped, then one more",
        ),
        pytest.param(
            [
                {
                    "kind": "tool_call",
                    "name": "'t'",
                    "result": "began",
                    "error": "began",
                    "arguments": "run.notes",
                    "started_at": "ended",
                }
            ],
            [("t", {"stars": 2}, None, "2026-11-21T09:00:00")],
            id="an error that is the result, and arguments as JSON text",
        ),
    ],
)
def test_steps(steps: Any, made: list[Any]):
    trace = mapped(RECORD, {"id": "'1'", "steps": steps})

    shown = [
        (s.name, s.arguments, s.result, s.error) if isinstance(s, ToolCall) and s.started_at else s
        for s in trace.steps
    ]
    assert shown == made


def test_messages_may_be_found_in_place_of_steps():
    first = mapped(RECORD, {"messages": "chat", "success": "run.ok", "labels": {"no": "run.no"}})

    assert first.steps == (Message("user", "hi"),)
    assert (first.success, first.labels, len(first.id)) == (True, {"no": "7"}, 16)


def test_a_record_without_an_id_has_its_contents_hash():
    other = json.loads(json.dumps(RECORD, sort_keys=True))

    assert mapped(RECORD, {"task": "began"}).id == mapped(other, {"task": "ended"}).id
    assert mapped(RECORD, {}).id != mapped({**RECORD, "began": ""}, {}).id


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        ({"success": "run.no"}, "success is 7, expected true or false"),
        ({"score": "began"}, "score is '2026-11-21T09:00:00', expected a number"),
        ({"latency_s": "seconds(ended, began)"}, "latency_s is -4.0, expected"),
        ({"agent": "gone"}, "agent gave nothing, expected text (a constant is"),
        ({"task": "starts_with(run, 'x')"}, "task: starts_with() got {'no': 7,"),
        ({"task": "zip({a: began})"}, "task: zip() needs lists, but a is '2026"),
        ({"task": "json(began)"}, "task: json() cannot read '2026-11-21T09:00:00'"),
        ({"task": "matches(began, bad)"}, "task: '(' is no regular expression"),
        ({"steps": "began"}, "steps is '2026-11-21T09:00:00', expected a list"),
        ({"steps": "run"}, "steps[1].kind is None, expected one of message, thought"),
        ({"steps": "[run]"}, "steps[1].kind is None, expected one of message, thought"),
        ({"steps": [{"each": "run", "steps": []}]}, "steps[1].each is {'no': 7"),
        (
            {"steps": [{"kind": "message", "role": "log[0].who", "text": "began"}]},
            "steps[1].role is 'me', expected one of system, user, assistant",
        ),
        ({"records": "gone"}, "records gave nothing, expected a list"),
        ({"records": "log", "success": "said"}, "records[1]: success is 'hi'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_value_that_does_not_fit_sets_its_record_aside(mapping: dict[str, Any], reason: str):
    bad: list[BadRecord] = []

    list(read_traces([{"first": 1}, RECORD], mapping=mapping, on_bad=bad.append))

    reasons = [b.reason for b in bad if b.position == 2]
    assert reasons[0].startswith(reason)


def test_no_text_of_a_record_makes_a_regular_expression_slow():
    with pytest.raises(TraceError, match="no regular expression of RE2"):
        read_traces([], mapping={"task": r"extract(said, '(a)\1')"})
    record = {"said": "a" * 200_000 + "b"}
    assert mapped(record, {"id": "'1'", "task": "extract(said, '^(a+)+$')"}).task is None


def test_one_bad_record_in_a_file_of_many_is_named_and_the_others_are_read(tmp_path: Path):
    path = tmp_path / "runs.json"
    path.write_text(json.dumps({"runs": {"x": {"ok": True}, "y": {"ok": 3}, "z": {"ok": False}}}))
    mapping = {"records": "items(runs)", "id": "key", "success": "value.ok"}
    bad: list[BadRecord] = []

    traces = list(read_traces(path, mapping=mapping, on_bad=bad.append))

    assert [(t.id, t.success) for t in traces] == [("x", True), ("z", False)]
    assert bad == [
        BadRecord(str(path), 1, "records[2]: success is 3, expected true or false"),
    ]


@pytest.mark.parametrize(
    ("yaml", "told"),
    [
        ("succes: run.ok", "m.yaml: succes is no field of a trace (did you mean success?)"),
        ("success: 'run..ok'", "m.yaml: success: character 5 of 'run..ok' is wrong: expecting"),
        ("success: run.ok =", "m.yaml: success: character 8 of 'run.ok =' is wrong: unknown token"),
        ("task: 'run['", "m.yaml: task: character 5 of 'run[' is wrong: it ends too early"),
        ("task: run no", "m.yaml: task: character 5 of 'run no' is wrong: unexpected token: no"),
        ("task: ''", "m.yaml: task is empty, expected a JMESPath expression"),
        ("task:", "m.yaml: task is None, expected a JMESPath expression"),
        ("task: zzz(run)", "'zzz(run)' is wrong: there is no function zzz() (there is abs, "),
        ("task: lengt(run)", "there is no function lengt() (did you mean length?)"),
        ("task: length(run, no)", "length() takes 1, but got 2"),
        ("task: matches(run, '(')", "wrong: '(' is no regular expression of RE2: missing ): ("),
        ("task: merge()", "merge() takes at least 1, but got 0"),
        ("labels: {a: 'x['}", "m.yaml: labels.a: character 3"),
        ("steps: [{kind: dance}]", "m.yaml: steps[1].kind is 'dance', expected message, thought"),
        ("steps: [{kind: thought, txt: a}]", "steps[1].txt is no part of it (did you mean text?)"),
        ("steps: [{each: a}]", "m.yaml: steps[1] has each, but no steps to make of it"),
        ("steps: [{each: a, steps: [3]}]", "m.yaml: steps[1].steps[1] is 3, expected a step"),
        ("{steps: a, messages: b}", "m.yaml: has steps and messages, expected one of them"),
        ("success: `true`", "m.yaml: is no YAML in line 1: found character '`'"),
        ("- task", "m.yaml: holds ['task'], expected fields with their expressions"),
        ("", "m.yaml: holds None, expected fields"),
    ],
    ids=lambda value: value,
)
def test_a_wrong_mapping_is_refused_at_once_in_one_line(tmp_path: Path, yaml: str, told: str):
    (tmp_path / "m.yaml").write_text(yaml)

    with pytest.raises(TraceError) as refused:
        read_traces([], mapping=tmp_path / "m.yaml")

    assert told in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path))
    assert "\n" not in str(refused.value)


def test_a_mapping_that_is_not_there_and_one_beside_a_format_are_refused(tmp_path: Path):
    with pytest.raises(TraceError, match=r"gone\.yaml: cannot be read: No such file"):
        read_traces([], mapping=tmp_path / "gone.yaml")
    with pytest.raises(TraceError, match="format is 'tau2', expected none beside a mapping"):
        read_traces([], mapping={}, format="tau2")


def test_a_field_that_never_finds_anything_is_told(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, logger="tracetune"):
        list(read_traces([RECORD] * 2, mapping={"task": "tsk", "score": "run.grade", "steps": "x"}))

    assert [record.getMessage() for record in caplog.records] == [
        "mapping: task gave nothing in any of 2 records",
        "mapping: steps gave nothing in any of 2 records",
    ]
