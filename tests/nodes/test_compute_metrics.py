"""What one agent's runs say of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tracetune.graph.state import Measures, PromptTask
from tracetune.nodes.compute_metrics import measure
from tracetune.nodes.evidence.gathering import Evidence, SharedTables
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
