"""What is known of real runs, found again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from tracetune.traces.mining.patterns import Pattern, Patterns, mine_patterns
from tracetune.traces.read import read_traces
from tracetune.traces.stats import newcombe

reference: Any = stats
"""Untyped here: its stubs want arrays where it takes lists."""


@pytest.fixture(scope="module")
def langchain(shared_data: Path) -> Patterns:
    """A LangChain agent on tau2-bench, one run per task."""
    folder = shared_data / "tau2-bench"
    return mine_patterns(read_traces(folder / "airline-gpt-oss-120b-langchain.json.gz"))


@pytest.fixture(scope="module")
def intercode(shared_data: Path, repo: Path) -> Patterns:
    """A SQL agent on 1,034 tasks that is not told the tables."""
    source = shared_data / "intercode" / "sql-gpt-3.5-plain.json.gz"
    return mine_patterns(
        read_traces(source, mapping=repo / "examples" / "mappings" / "intercode.yaml")
    )


@pytest.fixture(scope="module")
def tau_bench(shared_data: Path) -> Patterns:
    """An agent on tau-bench, four runs per task."""
    return mine_patterns(read_traces(shared_data / "tau-bench" / "airline-gpt-4o.json.gz"))


def kinds(patterns: Patterns) -> Mapping[tuple[str, tuple[str, ...]], Pattern]:
    return {(p.kind, p.subject): p for p in patterns}


def error(patterns: Patterns, text: str) -> tuple[int, Pattern]:
    """The one pattern of an error with this text, and its place."""
    [found] = [(n, p) for n, p in enumerate(patterns) if text in p.text]
    return found


def test_unknown_columns_rank_far_above_tables_that_do_not_exist(intercode: Patterns) -> None:
    column_place, column = error(intercode, "Unknown column")
    table_place, table = error(intercode, "doesn't exist")
    assert (column.support, round(column.success_with, 2)) == (408, 0.17)
    assert (table.support, round(table.success_with, 2)) == (690, 0.48)
    assert column.q_value < 1e-50
    assert table.q_value == pytest.approx(1.0)
    assert table.interval[0] < 0 < table.interval[1]
    assert column_place <= 1
    assert table_place >= len(intercode) - 3


def test_where_each_task_was_run_once_the_test_is_fishers(intercode: Patterns) -> None:
    _, column = error(intercode, "Unknown column")
    p_value = reference.fisher_exact([[71, 337], [418, 208]])[1]
    assert column.p_value == pytest.approx(p_value, rel=1e-6)
    assert column.tasks == 0


def test_the_loop_of_a_langchain_agent_is_on_top(langchain: Patterns) -> None:
    top = langchain[0]
    assert (top.kind, top.subject) == ("loop", ("transfer_to_human_agents",))
    assert "at least 10 times" in top.text
    assert (top.support, top.success_with, top.success_without) == (4, 0.0, 19 / 46)
    assert (top.long_with, top.long_without) == (1.0, 4 / 46)
    # They are in the loop by their 11th to 18th call and make 100 calls and more; of the ten others
    # that come to an 11th call only one does, which is stuck in another loop.
    assert top.p_value == pytest.approx(0.0185, abs=1e-4)
    assert top.q_value < 0.1


def test_the_strongest_contrast_of_a_langchain_agent_comes_next(langchain: Patterns) -> None:
    top = langchain[1]
    assert top.subject == ("search_direct_flight", "search_onestop_flight")
    assert (top.support, top.success_with, top.success_without) == (12, 0.0, 0.5)
    assert top.p_value == pytest.approx(reference.fisher_exact([[0, 12], [19, 19]])[1])
    assert top.interval == pytest.approx(newcombe(0, 12, 19, 38))
    assert top.coverage == pytest.approx(12 / 31)
    assert len(top.failing_ids) == 5
    assert top.succeeding_ids == ()


def test_a_mild_loop_without_effect_is_no_strong_evidence(langchain: Patterns) -> None:
    """Runs that repeat a call a few times succeed as often as others."""
    [mild] = [p for p in langchain if p.kind == "loop" and "at least 3 times" in p.text]
    assert mild.support == 13
    assert mild.success_with == pytest.approx(5 / 13)
    assert mild.success_without == pytest.approx(14 / 37)
    assert mild.q_value > 0.1


def test_tool_errors_of_a_langchain_agent_go_along_with_failure(langchain: Patterns) -> None:
    found = kinds(langchain)
    assert found["any_error", ()].effect < -0.4
    assert found["tool_error", ("book_reservation",)].success_with == 0.0


def test_tool_errors_go_along_with_failure_on_tau_bench(tau_bench: Patterns) -> None:
    found = kinds(tau_bench)["any_error", ()]
    assert round(found.success_with, 2) == 0.25
    assert round(found.success_without, 2) == 0.46
    assert found.support == 36


def test_four_runs_of_each_task_are_compared_within_it(tau_bench: Patterns) -> None:
    """26 of the 50 tasks have both outcomes."""
    most = max(tau_bench, key=lambda pattern: pattern.tasks)
    assert 10 < most.tasks <= 26
    booking = kinds(tau_bench)["tool_used", ("book_reservation",)]
    crude = reference.fisher_exact([[1, 23], [83, 93]])[1]
    assert booking.success_with == pytest.approx(1 / 24)
    assert booking.tasks == 2
    assert booking.p_value != pytest.approx(crude, rel=0.01)
