"""τ-bench result files: the real one, and small ones that are odd or wrong."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tracetune.traces.model import Message, ToolCall, Trace
from tracetune.traces.read import BadRecord, read_traces


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[Trace]:
    path = shared_data / "tau-bench" / "airline-gpt-4o.json.gz"
    return list(read_traces(path, strict=True))


def test_the_real_runs_are_all_read(real: list[Trace]):
    assert len({trace.id for trace in real}) == len(real) == 200
    assert sum(trace.success is True for trace in real) == 84
    assert {trace.agent for trace in real} == {"airline"}
    assert len({trace.task for trace in real}) == 50
    assert (real[0].id, real[0].task, real[0].labels["trial"]) == ("0/0", "0", "0")


def test_the_real_calls_and_their_errors(real: list[Trace]):
    calls = [call for trace in real for call in trace.agent_calls()]
    made = Counter(call.name for call in calls)
    failed = Counter(call.name for call in calls if call.error)

    assert (failed["update_reservation_flights"], made["update_reservation_flights"]) == (42, 104)
    assert (failed["book_reservation"], made["book_reservation"]) == (30, 53)
    assert all((call.result is None) != (call.error is None) for call in calls)
    erring = {t.id for t in real if any(call.error for call in t.agent_calls())}
    rates = [
        sum(t.success is True for t in real if (t.id in erring) is erred)
        / sum((t.id in erring) is erred for t in real)
        for erred in (True, False)
    ]
    assert [round(rate, 2) for rate in rates] == [0.25, 0.46]


def test_what_ended_the_real_runs(real: list[Trace]):
    assert Counter(trace.labels["ended_by"] for trace in real) == {
        "user_stop": 147,
        "transfer_to_human_agents": 48,
        "max_steps": 5,
    }
    assert max(trace.turns or 0 for trace in real) == 30


def call(id: str | None, name: str = "look", arguments: Any = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def run(*traj: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"task_id": 3, "trial": 1, "reward": 1.0, "info": {}, "traj": list(traj), **changes}


ASKED = {"role": "assistant", "content": None, "tool_calls": [call("c", arguments='{"a": 1}')]}
ANSWER = {"role": "tool", "tool_call_id": "c", "name": "look", "content": "Error: none"}


def test_a_small_run_in_full():
    policy = {"role": "system", "content": "# Retail agent policy\n\nBe kind."}
    stop = {"role": "user", "content": "thanks ###STOP###"}

    (trace,) = read_traces([run(policy, ASKED, ANSWER, stop)])

    assert trace == Trace(
        id="3/1",
        agent="retail",
        task="3",
        success=True,
        score=1.0,
        steps=(
            Message("system", "# Retail agent policy\n\nBe kind."),
            ToolCall("look", {"a": 1}, error="Error: none"),
            Message("user", "thanks ###STOP###"),
        ),
        attempts=1,
        turns=1,
        labels={"domain": "retail", "ended_by": "user_stop", "trial": "1"},
    )


def test_calls_of_the_user_are_not_the_agents():
    by_user = {"role": "user", "content": "wait", "tool_calls": [call("u", "toggle")]}
    answer = {"role": "tool", "tool_call_id": "u", "content": "on"}

    (trace,) = read_traces([run(by_user, answer, ASKED)])

    assert [(s.name, s.by) for s in trace.steps if isinstance(s, ToolCall)] == [
        ("toggle", "user"),
        ("look", "agent"),
    ]
    assert (trace.agent, trace.attempts, trace.turns) == ("agent", 1, 1)


def test_a_run_that_crashed_the_benchmark_is_nobodys_failure_but_infrastructures():
    info = {"error": "litellm.RateLimitError: slow down", "traceback": "…"}

    (trace,) = read_traces([run(reward=0.0, info=info)])

    assert (trace.success, trace.failure_kind, trace.turns) == (False, "infrastructure", None)
    assert trace.labels["ended_by"] == "error"
    assert trace.labels["error"] == "litellm.RateLimitError: slow down"


@pytest.mark.parametrize(
    ("reward", "success"),
    [(1, True), ("1.0", True), (0.9999999, True), (0.5, False), (None, None)],
)
def test_success_is_the_whole_reward(reward: Any, success: bool | None):
    (trace,) = read_traces([run(reward=reward)])

    assert trace.success is success


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (run(task_id=None), "the key 'task_id' is missing"),
        (run(reward="good"), "reward is 'good', expected a number"),
        (run(traj="hi"), "traj is 'hi', expected a list"),
        (run({"role": "robot"}), "traj[1].role is 'robot', expected system"),
        (run(ANSWER), "traj[1] answers the call 'c', which was not made"),
        (run({"role": "assistant", "tool_calls": [{}]}), "traj[1].tool_calls: a call names no"),
        (run({"role": "user", "content": ["x"]}), "traj[1].content is ['x'], expected text"),
        (run(info=3), "info is 3, expected an object"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_run_is_set_aside(record: dict[str, Any], reason: str):
    bad: list[BadRecord] = []

    traces = list(read_traces([record, run()], on_bad=bad.append))

    assert [t.id for t in traces] == ["3/1"]
    assert bad[0].reason.startswith(reason)
