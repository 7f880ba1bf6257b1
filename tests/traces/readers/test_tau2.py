"""τ²-bench result files: the real ones, and small ones that are wrong."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tracetune.traces.model import Trace
from tracetune.traces.read import BadRecord, read_traces


@pytest.fixture(scope="module")
def airline(shared_data: Path) -> list[Trace]:
    return list(read_traces(shared_data / "tau2-bench/airline-gpt-oss-120b-langchain.json.gz"))


@pytest.mark.parametrize(
    ("name", "agent", "runs", "successful"),
    [
        ("airline-gpt-oss-120b-langchain", "airline", 50, 19),
        ("airline-gpt-4.1-base", "airline", 20, 10),
        ("airline-gpt-4.1-sft", "airline", 20, 13),
        ("retail-gpt-4.1-base", "retail", 40, 34),
        ("retail-gpt-4.1-sft", "retail", 40, 34),
    ],
)
def test_real_files(shared_data: Path, name: str, agent: str, runs: int, successful: int):
    bad: list[BadRecord] = []

    traces = list(read_traces(shared_data / f"tau2-bench/{name}.json.gz", on_bad=bad.append))

    assert bad == []
    assert (len(traces), len({t.id for t in traces})) == (runs, runs)
    assert sum(t.success is True for t in traces) == successful
    assert {t.agent for t in traces} == {agent}
    assert all(t.latency_s and t.started_at and t.task for t in traces)
    assert all(c.result is not None or c.error for t in traces for c in t.agent_calls())


def test_the_airline_agent_loops_on_the_transfer(airline: list[Trace]):
    calls = [
        sum(c.name == "transfer_to_human_agents" for c in trace.agent_calls()) for trace in airline
    ]

    assert (sum(calls), sum(n > 0 for n in calls)) == (463, 28)
    assert sum(trace.attempts or 0 for trace in airline) == 847


def test_tool_errors_are_joined_to_their_calls_though_ids_repeat(airline: list[Trace]):
    errors = Counter(c.name for t in airline for c in t.agent_calls() if c.error)

    assert errors.total() == 16
    assert errors["book_reservation"] == 14


def test_turns_are_the_steps_that_max_steps_limits(airline: list[Trace]):
    by_ending: dict[str, set[int]] = {}
    for trace in airline:
        by_ending.setdefault(trace.labels["ended_by"], set()).add(trace.turns or 0)

    assert by_ending["max_steps"] == {201}
    assert by_ending["too_many_errors"] == {53}
    assert max(by_ending["user_stop"]) == 61


def test_tokens_and_cost_are_known_only_when_told(airline: list[Trace], shared_data: Path):
    (told, *_) = read_traces(shared_data / "tau2-bench/airline-gpt-4.1-base.json.gz")

    assert {(t.tokens_in, t.tokens_out, t.cost_usd) for t in airline} == {(None, None, None)}
    assert (told.tokens_in, told.tokens_out, told.cost_usd) == (32354, 504, 0.02746)


def test_canonical_form_keeps_real_traces_whole(airline: list[Trace]):
    assert list(read_traces([trace.to_dict() for trace in airline])) == airline


def call(requestor: str, id: str = "1") -> dict[str, Any]:
    return {"id": id, "name": f"by_{requestor}", "arguments": {}, "requestor": requestor}


def run(**changes: Any) -> dict[str, Any]:
    messages = [
        {"role": "assistant", "content": "Hi!", "timestamp": "2026-01-01T00:00:00"},
        {"role": "user", "tool_calls": [call("user")], "timestamp": "2026-01-01T00:00:01"},
        {"role": "tool", "id": "1", "content": "on", "timestamp": "2026-01-01T00:00:03"},
        {"role": "assistant", "tool_calls": [call("assistant"), call("assistant", "2")]},
        {"role": "tool", "id": "1", "content": "a"},
        {"role": "tool", "id": "2", "content": "b", "error": True},
    ]
    return {
        "id": "s",
        "task_id": 3,
        "messages": messages,
        "reward_info": {"reward": 0.0},
        **changes,
    }


def test_calls_of_the_user_are_no_attempts():
    (trace,) = read_traces([{"info": {}, "simulations": [run()]}])

    mine = [(c.name, c.result, c.error) for c in trace.agent_calls()]
    assert mine == [("by_assistant", "a", None), ("by_assistant", None, "b")]
    assert (trace.attempts, trace.turns, trace.task, trace.agent) == (2, 4, "3", "agent")
    assert getattr(trace.steps[1], "by", None) == "user"
    assert getattr(trace.steps[1], "latency_s", None) == 2.0


@pytest.mark.parametrize(
    ("changes", "success", "kind"),
    [
        pytest.param({"reward_info": None}, None, "unknown", id="not graded"),
        pytest.param({"reward_info": {"reward": 0.5}}, False, "unknown", id="half a reward"),
        pytest.param({"reward_info": {"reward": 1}}, True, "unknown", id="full reward"),
        pytest.param({"termination_reason": "agent_error"}, False, "agent", id="agent error"),
        pytest.param({"termination_reason": "user_error"}, False, "user", id="user error"),
        pytest.param({"termination_reason": "max_steps"}, False, "unknown", id="step limit"),
        pytest.param(
            {"termination_reason": "infrastructure_error", "reward_info": None, "messages": []},
            None,
            "infrastructure",
            id="infrastructure error",
        ),
    ],
)
def test_outcome(changes: dict[str, Any], success: bool | None, kind: str):
    (trace,) = read_traces([{"simulations": [run(**changes)]}])

    assert (trace.success, trace.failure_kind) == (success, kind)


@pytest.mark.parametrize(
    ("simulation", "reason"),
    [
        (3, "the simulation is 3, expected an object"),
        ({"messages": []}, "the key 'id' is missing"),
        (run(messages=[{"role": "robot"}]), "role is 'robot'"),
        (run(messages=["hi"]), "messages[1] is 'hi'"),
        (run(messages=[{"role": "tool", "id": "9"}]), "names the call '9', which was not made"),
        (run(messages=[{"role": "user", "content": ["x"]}]), "content is ['x'], expected text"),
        (run(messages=[{"role": "user", "tool_calls": [{}]}]), "the key 'name' is missing"),
        (run(reward_info={"reward": "good"}), "reward is 'good', expected a number"),
        (run(start_time="noon"), "start_time is 'noon'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_simulation_is_set_aside_and_the_others_are_read(simulation: Any, reason: str):
    bad: list[BadRecord] = []

    traces = list(read_traces([{"simulations": [simulation, run()]}], on_bad=bad.append))

    assert [t.id for t in traces] == ["s"]
    assert bad[0].reason.startswith("simulations[1]: ")
    assert reason in bad[0].reason
