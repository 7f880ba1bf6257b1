"""What one agent's runs say of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tracetune.graph.state import Measures, PromptTask
from tracetune.nodes.compute_metrics import measure
from tracetune.nodes.evidence.gathering import Evidence, SharedTables
from tracetune.nodes.update_by_rules import draft_by_rules
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.mining.habits import mine_habits
from tracetune.traces.model import ToolCall, Trace
from tracetune.traces.reward import RewardSpec


def run(number: int, tools: tuple[str, ...]) -> Trace:
    """Of five runs four succeed that look before they book, and one that does not."""
    won = (number % 5 > 0) is (len(tools) > 1)
    return Trace(f"{tools}{number}", "desk", success=won, steps=tuple(map(ToolCall, tools)))


@pytest.fixture
def measured(update_task: Callable[..., PromptTask]) -> Callable[[list[Trace]], Measures]:
    """What the runs of an agent that has no more than a prompt say."""

    def of(traces: list[Trace]) -> Measures:
        found = Evidence.of("desk", SharedTables(TraceTables(traces)))
        return measure(found, update_task("Be kind.")["subject"], RewardSpec())[0]

    return of


def test_failures_of_the_user_take_no_run_from_habits(
    measured: Callable[[list[Trace]], Measures],
) -> None:
    """All runs are at hand: none has to be passed over for the others to be even."""
    own = [run(n, tools) for tools in (("look", "book"), ("book",)) for n in range(20)]
    users = [
        replace(trace, id=f"user's {trace.id}", success=False, failure_kind="user") for trace in own
    ]
    measures: dict[str, Any] = {**measured([*own, *users])}
    expected = mine_habits(own)
    assert [habit["support"] for habit in measures["habits"]] == [h.support for h in expected]
    assert measures["habits"] == measured(own).get("habits")
    assert measures["coverage"]["failures"] == sum(not trace.success for trace in own)


def test_failures_of_the_user_are_no_runs_that_lack_a_pattern(
    measured: Callable[[list[Trace]], Measures], update_task: Callable[..., PromptTask]
) -> None:
    locked = ToolCall("book", error="locked")
    traces = [Trace(f"bad{n}", "desk", success=False, steps=(locked,)) for n in range(60)]
    traces += [Trace(f"ok{n}", "desk", success=True, steps=(ToolCall("book"),)) for n in range(2)]
    theirs = [Trace(f"{n}", "desk", success=False, failure_kind="user") for n in range(10)]
    measures = measured([*traces, *theirs])
    assert any(p["kind"] == "tool_error" and p["q_value"] < 0.1 for p in measures["patterns"])
    subject = update_task("Be kind.", tools=("book",))["subject"]
    assert draft_by_rules("main", subject, measures)["guidelines"] == []
    own = [Trace(f"fine{n}", "desk", success=True) for n in range(3)]
    assert draft_by_rules("main", subject, measured([*traces, *own]))["guidelines"]
