import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from tracetune.traces.model import ToolCall, Trace
from tracetune.traces.patterns import Pattern, mine_patterns
from tracetune.traces.read import read_traces
from tracetune.traces.stats import newcombe
from tracetune.traces.tables import TraceTables

reference: Any = stats
"""Untyped here: its stubs want arrays where it takes lists."""


@pytest.fixture(scope="module")
def airline(shared_data: Path) -> list[Trace]:
    folder = shared_data / "tau2-bench"
    return list(read_traces(folder / "airline-gpt-oss-120b-langchain.json.gz"))


def call(name: str, error: str | None = None, **arguments: Any) -> ToolCall:
    return ToolCall(name, arguments, error=error)


def run(id: str, success: bool | None, *calls: ToolCall, **values: Any) -> Trace:
    return Trace(id=id, agent=values.pop("agent", "clerk"), success=success, steps=calls, **values)


def contrast(*calls: ToolCall, n: int = 6, **values: Any) -> list[Trace]:
    """n failed runs with these calls, n successful runs with one plain call."""
    failed = [run(f"bad{i}", False, *calls, **values) for i in range(n)]
    return failed + [run(f"good{i}", True, call("plain", i=i)) for i in range(n)]


def kinds(patterns: list[Pattern]) -> Mapping[tuple[str, tuple[str, ...]], Pattern]:
    return {(p.kind, p.subject): p for p in patterns}


def test_the_loop_of_a_real_agent_is_on_top(airline: list[Trace]) -> None:
    top = mine_patterns(airline)[0]
    assert (top.kind, top.subject) == ("loop", ("transfer_to_human_agents",))
    assert (top.support, top.success_with, top.success_without) == (4, 0.0, 19 / 46)
    assert (top.long_with, top.long_without) == (1.0, 4 / 46)
    length = reference.fisher_exact([[4, 0], [4, 42]])[1]
    assert top.p_value == pytest.approx(2 * length)


def test_the_strongest_contrast_of_a_real_agent_comes_next(airline: list[Trace]) -> None:
    top = mine_patterns(airline)[1]
    assert top.subject == ("search_direct_flight", "search_onestop_flight")
    assert (top.support, top.success_with, top.success_without) == (12, 0.0, 0.5)
    assert top.p_value == pytest.approx(reference.fisher_exact([[0, 12], [19, 19]])[1])
    assert top.interval == pytest.approx(newcombe(0, 12, 19, 38))
    assert top.coverage == pytest.approx(12 / 31)
    assert len(top.failing_ids) == 5
    assert top.succeeding_ids == ()


def test_a_mild_loop_without_effect_is_no_strong_evidence(airline: list[Trace]) -> None:
    """Runs that repeat a call a few times succeed as often as others."""
    loops = [p for p in mine_patterns(airline) if p.kind == "loop"]
    [mild] = [p for p in loops if "at least 3 times" in p.text]
    assert mild.support == 13
    assert mild.success_with == pytest.approx(5 / 13)
    assert mild.success_without == pytest.approx(14 / 37)
    assert mild.q_value > 0.1


def test_tool_errors_of_real_runs_go_along_with_failure(airline: list[Trace]) -> None:
    found = kinds(mine_patterns(airline))
    assert found["any_error", ()].effect < -0.4
    assert found["tool_error", ("book_reservation",)].success_with == 0.0


def test_order_is_by_evidence_then_effect(airline: list[Trace]) -> None:
    patterns = mine_patterns(airline)
    assert patterns == sorted(patterns, key=lambda p: (p.q_value, -abs(p.effect)))
    expected = reference.false_discovery_control([p.p_value for p in patterns])
    assert [p.q_value for p in patterns] == pytest.approx(expected.tolist())


def test_the_order_of_the_traces_does_not_count(airline: list[Trace]) -> None:
    shuffled = random.Random(3).sample(airline, k=len(airline))
    assert mine_patterns(shuffled) == mine_patterns(airline)


@pytest.mark.parametrize(
    ("calls", "kind", "subject", "text"),
    [
        pytest.param(
            [call("a", x=1)] * 3,
            "loop",
            ("a",),
            "repeats an identical call of `a` at least 3 times",
            id="a loop rather than a pair or a use",
        ),
        pytest.param(
            [call("a", x=1), call("b"), call("a", x=1), call("b"), call("a", x=1)],
            "loop",
            ("a",),
            "repeats an identical call of `a` at least 3 times",
            id="a loop over two tools",
        ),
        pytest.param(
            [call("a", "no seat 7")],
            "tool_error",
            ("a",),
            'gets from `a` the error "no seat <n>"',
            id="an error with its text rather than any error",
        ),
        pytest.param(
            [call("a", x=1), call("a", x=2), call("a", x=1)],
            "tool_pair",
            ("a", "a"),
            "calls `a` right after `a`",
            id="a second look is no loop",
        ),
        pytest.param(
            [call("a"), call("b")],
            "tool_pair",
            ("a", "b"),
            "calls `b` right after `a`",
            id="a pair rather than its tools",
        ),
        pytest.param([call("a")], "last_tool", ("a",), "ends with `a`", id="the only call"),
    ],
)
def test_one_finding_is_said_once(
    calls: list[ToolCall], kind: str, subject: tuple[str, ...], text: str
) -> None:
    failing = [p for p in mine_patterns(contrast(*calls)) if p.effect < 0]
    assert [(p.kind, p.subject, p.text) for p in failing] == [(kind, subject, text)]


def test_running_into_the_limit_is_a_pattern() -> None:
    patterns = mine_patterns(contrast(call("plain", i=9), labels={"ended_by": "max_steps"}))
    assert [(p.kind, p.effect) for p in patterns] == [("hit_limit", -1.0)]


def test_long_runs_are_measured_against_all_runs() -> None:
    calls = [call("plain", i=i) for i in range(9)]
    traces = [run(f"bad{n}", False, *calls) for n in range(3)]
    traces += [run(f"good{n}", True, call("plain"), call("plain", i=1)) for n in range(9)]
    (found,) = mine_patterns(traces)
    assert found.kind == "long"
    assert found.text == "makes more than 4 tool calls, twice the median"


def test_errors_that_differ_in_values_only_are_one_pattern() -> None:
    traces = [run(f"bad{n}", False, call("a", f"no seat {n}")) for n in range(4)]
    traces += [run(f"other{n}", False, call("a", "locked")) for n in range(4)]
    traces += [run(f"good{n}", True, call("a")) for n in range(8)]
    texts = {p.text for p in mine_patterns(traces) if p.kind == "tool_error"}
    assert texts == {
        "gets an error from `a`",
        'gets from `a` the error "no seat <n>"',
        'gets from `a` the error "locked"',
    }


@pytest.mark.parametrize(
    "traces",
    [
        pytest.param([], id="no traces"),
        pytest.param([run(str(n), False, call("a")) for n in range(9)], id="failures only"),
        pytest.param([run(str(n), True, call("a")) for n in range(9)], id="successes only"),
        pytest.param([run(str(n), None, call("a")) for n in range(9)], id="unknown outcomes"),
        pytest.param(contrast(call("a"), n=2), id="fewer runs than the minimum support"),
        pytest.param(
            contrast(call("a"), failure_kind="infrastructure"), id="infrastructure failures"
        ),
        pytest.param(
            [run(str(n), n < 4, call("a")) for n in range(9)], id="what all runs have tells nothing"
        ),
    ],
)
def test_too_little_to_compare_gives_no_patterns(traces: list[Trace]) -> None:
    assert mine_patterns(traces) == []


def test_runs_without_a_known_outcome_do_not_count() -> None:
    traces = contrast(call("a"))
    unknown = [run(f"u{n}", None, call("a")) for n in range(5)]
    broken = [run(f"i{n}", False, call("a"), failure_kind="infrastructure") for n in range(5)]
    assert mine_patterns(traces + unknown + broken) == mine_patterns(traces)


def test_agents_are_compared_within_themselves() -> None:
    """The boss fails always and the clerk never: that is no finding about their tools."""
    traces = [run(f"b{n}", False, call("fire"), agent="boss") for n in range(9)]
    traces += [run(f"c{n}", True, call("file"), agent="clerk") for n in range(9)]
    assert mine_patterns(traces) == []


def test_one_agent_can_be_asked_for() -> None:
    traces = contrast(call("a"))
    others = [
        Trace(id=t.id, agent="boss", success=t.success, steps=t.steps) for t in contrast(call("b"))
    ]
    with TraceTables(traces + others) as tables:
        clerk = mine_patterns(tables, agent="clerk")
        both = mine_patterns(tables)
    assert clerk == mine_patterns(traces)
    assert {p.agent for p in both} == {"boss", "clerk"}
    assert len({p.id for p in both}) == len(both)


def test_examples_are_at_most_five_on_either_side_and_sorted() -> None:
    traces = [run(f"{n:02}", n % 3 == 0, call("a"), call("x", i=n)) for n in range(30)]
    traces += [run(f"z{n}", True, call("b")) for n in range(30)]
    found = next(p for p in mine_patterns(traces) if "a" in p.subject)
    assert found.failing_ids == ("01", "02", "04", "05", "07")
    assert found.succeeding_ids == ("00", "03", "06", "09", "12")


def test_an_id_stays_when_traces_are_added() -> None:
    before = mine_patterns(contrast(call("a", "locked"), n=4))
    after = mine_patterns(contrast(call("a", "locked"), n=9))
    assert [p.id for p in before] == [p.id for p in after]


def test_the_name_of_a_tool_cannot_break_out_of_its_line() -> None:
    (bad, *_) = mine_patterns(contrast(call("a\n\x1b[2J{detail}" + "x" * 500)))
    assert bad.text.isprintable()
    assert len(bad.text) < 200
