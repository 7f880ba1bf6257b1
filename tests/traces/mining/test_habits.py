"""Which orders and uses of tools go along with success, on runs whose answer is known."""

from dataclasses import replace
from pathlib import Path

import pytest

from tracetune.traces.mining.habits import Habit, mine_habits
from tracetune.traces.model import ToolCall, Trace
from tracetune.traces.read import read_traces


def run(name: str, won: bool, *tools: str, task: str | None = None) -> Trace:
    return Trace(name, "a", task=task, success=won, steps=tuple(map(ToolCall, tools)))


def ordered(with_first: tuple[int, int], without: tuple[int, int]) -> list[Trace]:
    """Runs that call `book`: (succeeded, failed) with `look` before it, and without."""
    return [
        run(f"{tools}{won}{n}", won, *tools)
        for tools, (succeeded, failed) in ((("look", "book"), with_first), (("book",), without))
        for won, count in ((True, succeeded), (False, failed))
        for n in range(count)
    ]


def found(traces: list[Trace], kind: str, *tools: str) -> Habit | None:
    habits = mine_habits(traces, most=1000)
    return next((h for h in habits if (h.kind, h.subject) == (kind, tools)), None)


def test_an_order_is_compared_among_runs_that_call_the_second_tool() -> None:
    idle = [run(f"idle{n}", n % 2 == 0, "look") for n in range(60)]
    habit = found(ordered((39, 16), (4, 29)) + idle, "tool_order", "look", "book")
    assert habit is not None
    assert (habit.support, habit.others) == (55, 33)
    assert (round(habit.success_with, 2), round(habit.success_without, 2)) == (0.71, 0.12)
    assert habit.q_value < 1e-6
    assert habit.interval[0] < habit.effect < habit.interval[1]
    assert all("look" not in id for id in habit.failing_ids)
    assert all("look" in id for id in habit.succeeding_ids)


@pytest.mark.parametrize(
    ("with_first", "without"),
    [
        pytest.param((3, 1), (20, 20), id="few runs have it"),
        pytest.param((20, 20), (1, 3), id="few runs lack it"),
    ],
)
def test_what_few_runs_have_or_lack_is_not_tested(
    with_first: tuple[int, int], without: tuple[int, int]
) -> None:
    assert found(ordered(with_first, without), "tool_order", "look", "book") is None


def test_a_tool_that_only_easy_tasks_use_is_no_habit() -> None:
    easy = [run(f"e{n}", True, "easy", task=f"e{n}") for n in range(30)]
    hard = [run(f"h{n}", False, "hard", task=f"h{n}") for n in range(30)]
    assert [h for h in mine_habits(easy + hard) if h.kind != "tool_order"] == []


def test_a_tool_is_compared_within_tasks() -> None:
    traces = [
        run(f"t{task}{won}{n}", won, *(("ask", "end") if won else ("end",)), task=f"t{task}")
        for task in range(4)
        for won in (True, False)
        for n in range(3)
    ]
    habit = found(traces, "tool_used", "ask")
    assert habit is not None
    assert (habit.tasks, habit.support, habit.others) == (4, 12, 12)
    assert habit.effect == 1
    first = found(traces, "first_tool", "ask")
    assert first is not None
    assert first.id != habit.id


def test_an_effect_that_turns_round_within_tasks_is_left_out() -> None:
    """Simpson's paradox: over all runs `look` helps, within each task it harms."""
    cells = {("easy", True): (17, 3), ("easy", False): (5, 0), ("hard", False): (6, 18)}
    cells["hard", True] = (0, 5)
    traces = [
        run(f"{task}{with_it}{won}{n}", won, *(["look"] if with_it else []), "end", task=task)
        for (task, with_it), counts in cells.items()
        for won, count in zip((True, False), counts, strict=True)
        for n in range(count)
    ]
    crude = found([replace(t, task=None) for t in traces], "tool_order", "look", "end")
    assert crude is not None
    assert crude.effect > 0
    assert found(traces, "tool_order", "look", "end") is None


def test_runs_without_an_outcome_say_nothing() -> None:
    known = ordered((20, 5), (5, 20))
    unknown = [replace(t, id=f"?{t.id}", success=None) for t in ordered((0, 50), (50, 0))]
    broken = [
        replace(t, id=f"!{t.id}", failure_kind="infrastructure") for t in ordered((0, 50), (0, 0))
    ]
    assert mine_habits([*unknown, *broken, *known]) == mine_habits(known)
    assert mine_habits(unknown) == []


def test_the_order_of_runs_makes_no_difference() -> None:
    traces = ordered((20, 5), (5, 20))
    assert mine_habits(traces[::-1]) == mine_habits(traces)


def test_rates_are_those_of_all_runs_where_outcomes_were_sampled_apart() -> None:
    """Of 400 failed and 40 successful runs, 40 each were kept."""
    traces = ordered((30, 20), (10, 20))
    [habit] = [h for h in mine_habits(traces, outcomes=(400, 40)) if h.kind == "tool_order"]
    n = habit.support + habit.others
    assert n == 44
    succeeded = habit.success_with * habit.support + habit.success_without * habit.others
    assert succeeded == pytest.approx(n / 11)
    assert mine_habits(traces, outcomes=(40, 40)) == mine_habits(traces)


def test_an_id_is_the_same_whatever_the_runs() -> None:
    one = found(ordered((20, 5), (5, 20)), "tool_order", "look", "book")
    other = found(ordered((10, 9), (9, 10)), "tool_order", "look", "book")
    assert one is not None
    assert other is not None
    assert one.id == other.id
    cited = mine_habits(ordered((20, 5), (5, 20)), most=0, also={one.id})
    assert [habit.id for habit in cited] == [one.id]


def test_what_clearer_tasks_have_is_no_habit_that_helps(shared_data: Path) -> None:
    """Who looks the user up first was asked less clearly, in each of a task's four runs. Taken for
    independent, these would say that the order of two lookups costs success."""
    traces = list(read_traces(shared_data / "tau-bench" / "airline-gpt-4o.json.gz"))
    tested = {habit.subject: habit for habit in mine_habits(traces, most=1000)}
    assert tested["get_user_details", "get_reservation_details"].q_value > 0.1
    assert [h for h in tested.values() if h.effect > 0 and h.q_value <= 0.1] == []


def test_a_task_that_always_ends_the_same_way_counts_once() -> None:
    """Two tasks, each run ten times, which alone decide on the order and on the outcome."""
    traces = ordered((10, 0), (0, 10))
    independent = found(traces, "tool_order", "look", "book")
    assert independent is not None
    assert independent.q_value < 0.001
    of_two = [replace(trace, task=f"{trace.success}") for trace in traces]
    assert found(of_two, "tool_order", "look", "book") is None
