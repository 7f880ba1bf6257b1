"""The canonical form, there and back, and what it refuses."""

import gzip
import json
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracetune.traces.metrics import compute_metrics
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
        ToolCall("look", result="", by="user", agent="helper"),
        Message("assistant", "done", agent="helper"),
        Thought("so", agent="helper"),
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
    assert list(read_traces([asdict(trace)])) == [trace]


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
        ({"score": "high"}, "score is 'high', expected a number"),
        ({"attempts": 1.5}, "attempts is 1.5, expected a whole number of at least 0"),
        ({"labels": {"n": [1]}}, "labels.n is [1], expected text"),
        ({"labels": ["x"]}, "labels is ['x'], expected an object"),
        ({"failure_kind": "me"}, "failure_kind is 'me', expected one of agent, user"),
        ({"started_at": "soon"}, "started_at is 'soon', expected ISO 8601 text"),
        ({"steps": {}}, "steps is {}, expected a list"),
        ({"steps": ["x"]}, "steps[1] is 'x', expected an object"),
        ({"steps": [{"kind": "dance"}]}, "steps[1].kind is 'dance'"),
        ({"steps": [{"kind": []}]}, "steps[1].kind is []"),
        ({"steps": [{"text": "x"}]}, "steps[1].kind is None"),
        ({"failure_kind": {}}, "failure_kind is {}"),
        ({"steps": [{"kind": "thought", "txt": ""}]}, "steps[1].txt is no key"),
        ({"steps": [{"kind": "tool_call", "name": {}}]}, "steps[1].name is {}"),
        ({"steps": [{"kind": "tool_call", "name": ""}]}, "steps[1].name is empty"),
        ({"steps": [{"kind": "tool_call"}]}, "the key 'steps[1].name' is missing"),
        ({"steps": [{"kind": "thought"}]}, "the key 'steps[1].text' is missing"),
        ({"steps": [{"kind": "thought", "text": "", "agent": []}]}, "steps[1].agent is []"),
        ({"feedback": 3}, "feedback is 3, expected text or an object"),
        ({"id": ""}, "id is empty"),
        ({"id": None}, "the key 'id' is missing"),
        ({"agent": None}, "the key 'agent' is missing"),
        ({"steps": [{"kind": "message", "role": "x", "text": ""}]}, "steps[1].role is 'x'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_canonical_trace_is_set_aside(change: dict[str, Any], reason: str):
    bad: list[BadRecord] = []

    assert not list(read_traces([{"id": "1", "agent": "a", **change}], on_bad=bad.append))
    assert reason in bad[0].reason


def read_one(change: dict[str, Any]) -> Trace:
    (trace,) = read_traces([{"id": "1", "agent": "a", **change}], strict=True)
    return trace


NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value", "meant"),
    [
        pytest.param("turns", "12", 12, id="a whole number as text"),
        pytest.param("score", "0.5", 0.5, id="a number as text"),
        pytest.param("cost_usd", "1e3", 1000.0, id="a number with an exponent as text"),
        pytest.param("score", "", None, id="empty text for a number"),
        pytest.param("score", float("nan"), None, id="not a number"),
        pytest.param("latency_s", float("inf"), None, id="an infinity"),
        pytest.param("score", "NaN", None, id="not a number as text"),
        pytest.param("tokens_in", 12.0, 12, id="a whole number with a point"),
        pytest.param("success", "true", True, id="true as text"),
        pytest.param("success", "False", False, id="False as text"),
        pytest.param("task", 7, "7", id="a number for text"),
        pytest.param("id", 7, "7", id="a number for an id"),
        pytest.param("labels", {"n": 1, "x": 0.5, "b": True}, {"n": "1", "x": "0.5", "b": "true"}),
        pytest.param("labels", {"n": None}, {}, id="a null label"),
        pytest.param("started_at", "2026-11-21T12:00:00", NOON, id="a naive time"),
        pytest.param("started_at", "2026-11-21 12:00:00 UTC", NOON, id="as databases write it"),
        pytest.param("started_at", "2026-11-21T13:00:00+01:00", NOON, id="a time with an offset"),
        pytest.param("started_at", "20261121", NOON.replace(hour=0), id="a date in eight digits"),
        pytest.param("started_at", NOON.timestamp(), NOON, id="seconds"),
        pytest.param("started_at", str(int(NOON.timestamp())), NOON, id="seconds as text"),
        pytest.param("started_at", int(NOON.timestamp()) * 10**3, NOON, id="milliseconds"),
        pytest.param("started_at", int(NOON.timestamp()) * 10**6, NOON, id="microseconds"),
        pytest.param("started_at", str(int(NOON.timestamp()) * 10**9), NOON, id="nanoseconds"),
        pytest.param("started_at", NOON, NOON, id="a datetime"),
        pytest.param("started_at", NOON.replace(tzinfo=None), NOON, id="a naive datetime"),
        pytest.param("started_at", date(2026, 11, 21), NOON.replace(hour=0), id="a date"),
        pytest.param("started_at", np.datetime64("2026-11-21T12:00", "ns"), NOON, id="of NumPy"),
        pytest.param("latency_s", np.float64(2), 2.0, id="a number of NumPy"),
        pytest.param("turns", np.int64(2), 2, id="a whole number of NumPy"),
        pytest.param("id", np.int64(7), "7", id="a number of NumPy for an id"),
        pytest.param("success", np.bool_(False), False, id="a truth value of NumPy"),
        pytest.param("score", Decimal("0.5"), 0.5, id="a decimal"),
        pytest.param("labels", {"n": np.int64(7)}, {"n": "7"}, id="a number of NumPy as a label"),
    ],
)
def test_an_odd_value_is_read_as_what_it_plainly_means(field: str, value: Any, meant: Any):
    found = getattr(read_one({field: value}), field)

    assert (found, type(found)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("score", "abc"),
        ("score", [1]),
        ("score", True),
        ("turns", "1.5"),
        ("turns", -1),
        ("turns", True),
        ("cost_usd", "-1"),
        ("success", 1),
        ("success", "0"),
        ("success", "yes"),
        ("task", 0.5),
        ("started_at", "noon"),
        ("started_at", 1e30),
        ("started_at", []),
        ("score", np.array([0.5])),
        ("success", np.int64(1)),
    ],
)
def test_a_value_that_could_mean_two_things_is_refused(field: str, value: Any):
    bad: list[BadRecord] = []

    assert not list(read_traces([{"id": "1", "agent": "a", field: value}], on_bad=bad.append))
    assert bad[0].reason.startswith(f"{field} is {value!r}, expected ")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param('{"a": 1}', {"a": 1}, id="an object as JSON text"),
        pytest.param("[1]", {"unparsed": "[1]"}, id="a list as JSON text"),
        pytest.param("{broken", {"unparsed": "{broken"}, id="broken JSON text"),
        pytest.param([1], {"unparsed": "[1]"}, id="a list"),
        pytest.param("", {}, id="empty text"),
    ],
)
def test_arguments_in_odd_forms(given: Any, kept: dict[str, Any]):
    trace = read_one({"steps": [{"kind": "tool_call", "name": "t", "arguments": given}]})

    assert trace.steps == (ToolCall("t", kept),)


def test_results_and_errors_of_other_types_are_their_json():
    call = {"kind": "tool_call", "name": "t", "result": {"a": [1]}, "error": 404}

    assert read_one({"steps": [call]}).steps == (ToolCall("t", {}, '{"a":[1]}', "404"),)


def test_without_an_id_the_content_is_the_id_whatever_its_order():
    record = {"agent": "a", "task": "t", "success": True}
    [first] = read_traces([record])
    [same] = read_traces([dict(reversed(record.items()))])
    [other] = read_traces([record | {"success": False}])

    assert first.id == same.id != other.id
    assert len(first.id) == 16


def test_each_of_equal_records_without_an_id_is_a_run():
    record = {"agent": "a", "task": "t", "success": True}
    ids = [trace.id for trace in read_traces([record] * 100)]

    assert len(set(ids)) == 100
    assert ids == [trace.id for trace in read_traces([record] * 100)]
    assert compute_metrics(read_traces([record] * 100))[0].n == 100


def test_ids_of_records_without_one_follow_from_the_files_name_not_its_folder(tmp_path: Path):
    line = json.dumps({"agent": "a", "task": "t"}) + "\n"
    for name in ("one/runs.jsonl", "two/runs.jsonl", "one/more.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(line * 2, encoding="utf-8")
    (tmp_path / "runs.jsonl.gz").write_bytes(gzip.compress(line.encode() * 2))

    def ids(name: str) -> list[str]:
        return [trace.id for trace in read_traces(tmp_path / name)]

    assert ids("one/runs.jsonl") == ids("two/runs.jsonl") == ids("runs.jsonl.gz")
    assert len({*ids("one/runs.jsonl"), *ids("one/more.jsonl")}) == 4
    assert ids("one") == ids("one/more.jsonl") + ids("one/runs.jsonl")


def test_a_record_of_which_nothing_is_known_is_no_trace():
    bad: list[BadRecord] = []

    assert not list(read_traces([{"agent": "a", "task": None}], on_bad=bad.append))
    assert bad[0].reason == "the key 'id' is missing"
