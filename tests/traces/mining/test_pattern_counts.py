import json
import random
from collections.abc import Iterable
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest

from tracetune.errors import TraceError
from tracetune.traces.analytics.few import FewTraces, few_or_tables
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.mining.few_patterns import count_few_patterns
from tracetune.traces.mining.pattern_counts import TASKS_KEPT, PatternCounts
from tracetune.traces.mining.patterns import count_patterns, mine_patterns, patterns_of
from tracetune.traces.model import Thought, ToolCall, Trace
from tracetune.traces.read import read_traces


def count(traces: Iterable[Trace], *, agent: str | None = None, least: int = 1) -> PatternCounts:
    with TraceTables(traces) as tables:
        return count_patterns(tables, agent=agent, least=least)


@pytest.fixture(scope="module")
def traces(shared_data: Path) -> list[Trace]:
    """Two agents' runs; one's tasks were run twice, and half of those have both outcomes."""
    names = ("airline-gpt-oss-120b-langchain", "retail-gpt-4.1-base", "retail-gpt-4.1-sft")
    return [
        replace(trace, id=f"{name} {trace.id}")
        for name in names
        for trace in read_traces(shared_data / "tau2-bench" / f"{name}.json.gz")
    ]


@pytest.fixture(scope="module")
def whole(traces: list[Trace]) -> PatternCounts:
    return count(traces)


@pytest.fixture(scope="module")
def shards(traces: list[Trace]) -> list[PatternCounts]:
    shuffled = random.Random(7).sample(traces, k=len(traces))
    return [count(shuffled[n::20]) for n in range(20)]


@pytest.mark.parametrize("seed", range(3))
def test_shards_merged_in_any_order_are_one_pass(
    seed: int, shards: list[PatternCounts], whole: PatternCounts
) -> None:
    shuffled = random.Random(seed).sample(shards, k=len(shards))
    assert reduce(PatternCounts.merge, shuffled) == whole


def test_shards_merged_by_halves_are_one_pass(
    shards: list[PatternCounts], whole: PatternCounts
) -> None:
    halves = [reduce(PatternCounts.merge, shards[n::2]) for n in range(2)]
    assert halves[1].merge(halves[0]) == whole
    assert halves[0] != halves[1]


def test_merged_counts_give_the_patterns_of_all_runs(
    shards: list[PatternCounts], traces: list[Trace]
) -> None:
    mined = mine_patterns(traces)
    assert patterns_of(reduce(PatternCounts.merge, shards)) == mined
    assert {pattern.agent for pattern in mined} == {"airline", "retail"}
    assert any(pattern.tasks for pattern in mined)


def test_counts_survive_json(whole: PatternCounts) -> None:
    text = whole.to_json()
    assert "\n" not in text
    assert PatternCounts.from_json(text) == whole


def test_counts_of_nothing_merge_with_others(whole: PatternCounts) -> None:
    nothing = count([])
    assert nothing.merge(whole) == whole == whole.merge(nothing)
    assert PatternCounts.from_json(nothing.to_json()) == nothing
    assert patterns_of(nothing).why_empty == "There are no runs."


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("[1]", id="a list"),
        pytest.param('{"layout": 0}', id="another layout"),
        pytest.param('{"layout": 4}', id="half of it"),
    ],
)
def test_other_json_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(TraceError, match="no counts of patterns of layout 4") as caught:
        PatternCounts.from_json(text)
    assert "\n" not in str(caught.value)


def test_json_with_a_row_that_is_too_short_is_refused(whole: PatternCounts) -> None:
    row = json.loads(whole.to_json())
    row["cells"] = row["cells"][:-1]
    with pytest.raises(TraceError, match="no counts of patterns"):
        PatternCounts.from_json(json.dumps(row))


def test_counts_without_rare_features_do_not_merge(traces: list[Trace]) -> None:
    with pytest.raises(ValueError, match="at least 3 runs have cannot be merged"):
        count(traces[:5]).merge(count(traces[5:10], least=3))


def test_leaving_rare_features_out_changes_no_pattern(traces: list[Trace]) -> None:
    with TraceTables(traces) as tables:
        few, every = count_patterns(tables, least=3), count_patterns(tables)
    assert len(few.features) < len(every.features) / 2
    assert patterns_of(few) == patterns_of(every)


def test_one_agent_can_be_counted_alone(traces: list[Trace]) -> None:
    alone = count(traces, agent="retail")
    assert alone == count(trace for trace in traces if trace.agent == "retail")


def test_of_very_many_tasks_a_part_is_kept_that_shards_agree_on() -> None:
    steps = (ToolCall("look"),)
    runs = [
        Trace(f"{n}-{trial}", "a", task=f"task {n}", success=(n + trial) % 3 > 0, steps=steps)
        for n in range(TASKS_KEPT + 200)
        for trial in range(2)
    ]
    whole = count(runs)
    assert len(whole.tasks) == TASKS_KEPT
    [rest] = whole.cells[
        (whole.cells[:, 1] == -1)
        & [whole.features[n].kind == "tool_used" for n in whole.cells[:, 0]]
    ]
    assert rest[2] + rest[3] == 400
    assert count(runs[::2]).merge(count(runs[1::2])) == whole
    assert count(runs[:1500]).merge(count(runs[1500:])) == whole


def test_loops_tell_their_task_however_they_are_counted() -> None:
    def run(agent: str, n: int, task: str | None, looked: int, calls: int) -> Trace:
        steps = [ToolCall("look", {"at": min(m, looked)}) for m in range(looked)]
        steps += [ToolCall("look", {"at": looked})] * (calls - looked)
        return Trace(f"{n}", agent, task=task, success=n % 2 == 0, steps=tuple(steps))

    runs = [
        run("a", 1, "x", 0, 3),
        run("a", 2, "x", 2, 7),
        run("a", 3, None, 0, 4),
        run("b", 4, "w", 0, 2),
        run("b", 5, "y", 1, 5),
        run("b", 6, "x", 0, 3),
        run("b", 7, "x", 0, 3),
    ]
    expected = [
        ("a", None, 3, 4, 1),
        ("a", "x", 3, 3, 1),
        ("a", "x", 5, 7, 1),
        ("b", "x", 3, 3, 2),
        ("b", "y", 4, 5, 1),
    ]

    def told(counts: PatternCounts) -> list[tuple[str, str | None, int, int, int]]:
        return [
            (counts.features[place].agent, None if task < 0 else counts.tasks[task][1], *rest)
            for place, task, *rest in counts.loops.tolist()
        ]

    shards = [count(runs[n::3]) for n in range(3)]
    whole = count(runs)
    with few_or_tables(runs) as held:
        assert isinstance(held, FewTraces)
        assert told(count_few_patterns(held.runs())) == expected
    assert told(whole) == expected
    assert told(shards[2].merge(*shards[:2])) == expected
    for agent in ("a", "b"):
        own = [row for row in expected if row[0] == agent]
        assert told(whole.only(agent=agent)) == told(count(runs, agent=agent)) == own


def test_a_shard_that_never_uses_a_tool_has_examples_of_not_using_it() -> None:
    def run(n: int, tool: str) -> Trace:
        return Trace(f"{n}", "a", success=n % 3 > 0, steps=(ToolCall(tool),))

    one, other = [run(n, "look") for n in range(9)], [run(n, "leap") for n in range(9, 18)]
    merged = count(one).merge(count(other))
    assert merged == count([*one, *other])
    assert {merged.features[place].tools for place in merged.unused[:, 0]} == {("look",), ("leap",)}


def test_hostile_texts_are_counted_as_they_are() -> None:
    names = ["'; DROP TABLE runs; --", "nul\x00", "lone \ud800", "line\nbreak", "a,b:c", ""]
    runs = [
        Trace(
            f"{name}{n}",
            name,
            task=name,
            success=n > 1,
            steps=(ToolCall(name, {"x": name}, error=name), Thought(name)),
        )
        for name in names
        for n in range(3)
        if name
    ]
    counts = count(runs)
    assert len(counts.agents) == len(names) - 1
    assert PatternCounts.from_json(counts.to_json()) == counts
    assert {f.tools[0] for f in counts.features if f.kind == "tool_used"} == set(counts.agents)


@pytest.mark.parametrize("attempts", [None, 0, 10**12])
def test_any_number_of_calls_is_counted(attempts: int | None) -> None:
    runs = [Trace(str(n), "a", success=n > 2, attempts=attempts) for n in range(6)]
    counts = count(runs)
    assert [f.kind for f in counts.features] == ["attempts"]
    assert counts.cells[:, 2:].tolist() == [[3, 3]]
    assert patterns_of(counts) == []
