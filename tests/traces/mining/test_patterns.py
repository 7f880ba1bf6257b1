import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from tracetune.errors import InputError
from tracetune.traces.analytics.sample import mark_of
from tracetune.traces.analytics.tables import TraceTables
from tracetune.traces.mining.pattern_counts import TASKS_KEPT
from tracetune.traces.mining.patterns import Pattern, mine_patterns
from tracetune.traces.model import Thought, ToolCall, Trace
from tracetune.traces.read import read_traces

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


def test_order_is_by_evidence_then_effect(airline: list[Trace]) -> None:
    patterns = mine_patterns(airline)
    assert patterns == sorted(patterns, key=lambda p: (p.q_value, -abs(p.effect)))
    for of_loops in (True, False):
        family = [p for p in patterns if (p.kind == "loop") is of_loops]
        expected = reference.false_discovery_control([p.p_value for p in family])
        assert [p.q_value for p in family] == pytest.approx(expected.tolist())
    assert (patterns.tried, patterns.why_empty) == (len(patterns), "")


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


def test_an_error_without_a_text_is_not_taken_for_any_error() -> None:
    traces = [run(f"bad{n}", False, call("a", "")) for n in range(4)]
    traces += [run(f"other{n}", False, call("a", "locked")) for n in range(4)]
    traces += [run(f"good{n}", True, call("a")) for n in range(8)]
    found = {p.text: p.support for p in mine_patterns(traces) if p.kind == "tool_error"}
    assert found == {
        "gets an error from `a`": 8,
        'gets from `a` the error ""': 4,
        'gets from `a` the error "locked"': 4,
    }


@pytest.mark.parametrize(
    ("traces", "why"),
    [
        pytest.param([], "There are no runs.", id="no traces"),
        pytest.param(
            [run(str(n), False, call("a")) for n in range(9)],
            "clerk: all 9 runs with a known outcome failed.",
            id="failures only",
        ),
        pytest.param(
            [run(str(n), True, call("a")) for n in range(9)],
            "clerk: all 9 runs with a known outcome succeeded.",
            id="successes only",
        ),
        pytest.param(
            [run(str(n), None, call("a")) for n in range(9)],
            "clerk: no outcome is known of 9 runs.",
            id="unknown outcomes",
        ),
        pytest.param(
            contrast(call("a"), n=2),
            "clerk: 2 of 4 runs succeeded, but nothing that at least 3 runs have is lacked by"
            " others.",
            id="fewer runs than the minimum support",
        ),
        pytest.param(
            [run(str(n), False, call("a"), failure_kind="infrastructure") for n in range(4)],
            "clerk: no outcome is known of 4 runs,"
            " 4 of them failures of the infrastructure or the user.",
            id="infrastructure failures only",
        ),
        pytest.param(
            contrast(call("a"), failure_kind="user"),
            "clerk: all 6 runs with a known outcome succeeded.",
            id="failures of the user beside successes",
        ),
        pytest.param(
            contrast(call("a"), failure_kind="infrastructure"),
            "clerk: all 6 runs with a known outcome succeeded.",
            id="infrastructure failures beside successes",
        ),
        pytest.param(
            [run(str(n), n < 4, call("a")) for n in range(9)],
            "clerk: 4 of 9 runs succeeded, but nothing that at least 3 runs have is lacked by"
            " others.",
            id="what all runs have tells nothing",
        ),
        pytest.param(
            [run("1", n > 1, agent=f"a{n}") for n in range(5)],
            "a0: all 1 runs with a known outcome failed; a1: all 1 runs with a known outcome"
            " failed; a2: all 1 runs with a known outcome succeeded; and 2 more agents.",
            id="many agents",
        ),
    ],
)
def test_too_little_to_compare_gives_no_patterns_and_says_why(
    traces: list[Trace], why: str
) -> None:
    patterns = mine_patterns(traces)
    assert patterns == []
    assert (patterns.tried, patterns.why_empty) == (0, why)


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


@pytest.mark.parametrize("agent", [5, ["clerk"], b"clerk"])
def test_an_agent_is_asked_for_by_name(agent: Any) -> None:
    with pytest.raises(InputError, match=r"^agent is .*, expected a name"):
        mine_patterns(contrast(call("a")), agent=agent)


@pytest.mark.parametrize("least", ["3", 0, 2.5, None])
def test_the_least_support_is_a_whole_number(least: Any) -> None:
    with pytest.raises(InputError, match=r"^min_support is .*, expected a whole number from 1"):
        mine_patterns(contrast(call("a")), min_support=least)


def test_examples_are_those_with_the_lowest_marks_on_either_side_sorted() -> None:
    traces = [run(f"{n:02}", n % 3 == 0, call("a"), call("x", i=n)) for n in range(300)]
    traces += [run(f"z{n}", True, call("b")) for n in range(300)]
    found = next(p for p in mine_patterns(traces) if "a" in p.subject)
    for ids, success in ((found.failing_ids, False), (found.succeeding_ids, True)):
        own = [t.id for t in traces if t.success is success and not t.id.startswith("z")]
        assert ids == tuple(sorted(sorted(own, key=lambda id: mark_of("clerk", id))[:5]))


def test_an_id_stays_when_traces_are_added() -> None:
    before = mine_patterns(contrast(call("a", "locked"), n=4))
    after = mine_patterns(contrast(call("a", "locked"), n=9))
    assert [p.id for p in before] == [p.id for p in after]


def test_the_name_of_a_tool_cannot_break_out_of_its_line() -> None:
    (bad, *_) = mine_patterns(contrast(call("a\n\x1b[2J{detail}" + "x" * 500)))
    assert bad.text.isprintable()
    assert len(bad.text) < 200


def test_runs_are_compared_within_tasks_that_have_both_outcomes() -> None:
    """The hard task needs the tool and mostly fails; within each task the tool changes nothing."""
    traces = []
    for task, used, lacked, every in (("hard", 40, 8, 4), ("easy", 8, 40, 1)):
        for n in range(used + lacked):
            succeeded = (n % every == 0) == (task == "hard")
            succeeded = succeeded if task == "hard" else n % 4 > 0
            steps = [call("dig" if n < used else "look"), call("end", i=n)]
            traces.append(run(f"{task}{n}", succeeded, *steps, task=task))
    found = kinds(mine_patterns(traces))["tool_pair", ("dig", "end")]
    assert found.success_with - found.success_without < -0.3
    assert found.effect == pytest.approx(0)
    assert found.interval[0] < 0 < found.interval[1]
    assert found.tasks == 2
    assert found.p_value > 0.9
    apart = kinds(mine_patterns([replace(trace, task=None) for trace in traces]))
    assert apart["tool_pair", ("dig", "end")].p_value < 0.01


def test_tasks_with_one_outcome_are_compared_with_each_other() -> None:
    traces = [replace(t, task=str(n)) for n, t in enumerate(contrast(call("a")))]
    [found] = [p for p in mine_patterns(traces) if p.effect < 0]
    assert found.tasks == 0
    assert found.p_value == pytest.approx(reference.fisher_exact([[0, 6], [6, 0]])[1])


def test_a_task_that_always_ends_the_same_way_counts_once() -> None:
    """Its runs are no independent witnesses of what this task takes."""
    traces = [
        replace(t, task=f"{n % 6}{t.success}") for n, t in enumerate(contrast(call("a"), n=30))
    ]
    [found] = [p for p in mine_patterns(traces) if p.effect < 0]
    assert found.support == 30
    assert found.p_value == pytest.approx(reference.fisher_exact([[0, 6], [6, 0]])[1])


def test_patterns_of_chance_are_rare() -> None:
    """Of sets in which nothing is to be found, about a tenth may show a pattern with q <= 0.1."""
    for make in (chance, lengths):
        showing = sum(any(p.q_value <= 0.1 for p in mine_patterns(make(n))) for n in range(40))
        assert showing <= 9, make.__name__


def test_calls_whose_content_nobody_recorded_are_no_loop() -> None:
    unknown = contrast(*[call("ask")] * 4, n=20)
    told = contrast(*[ToolCall("ask", result="")] * 4, n=20)
    for traces, looped in ((unknown, False), (told, True)):
        with TraceTables(traces) as tables:
            for given in (traces, tables):
                found = {p.kind for p in mine_patterns(given)}
                assert ("loop" in found) == looped


@pytest.mark.parametrize(
    ("looping", "others", "found"),
    [
        pytest.param(12, 5, True, id="go on for longer than others that came as far"),
        pytest.param(5, 12, False, id="end sooner"),
    ],
)
def test_a_loop_counts_where_its_runs_go_on_for_longer(
    looping: int, others: int, found: bool
) -> None:
    """Most runs end at once: over all, runs that loop are long in either case."""
    again = [call("ask", a=1)] * 3
    traces = [run(f"short{n}", n % 2 == 0, call("look", i=n)) for n in range(60)]
    for n in range(24):
        rest = [call("look", i=m) for m in range(looping - 3)]
        traces.append(run(f"loop{n}", n % 2 == 0, *again, *rest))
        traces.append(run(f"none{n}", n % 2 == 0, *(call("look", i=m) for m in range(others))))
    loops = [p for p in mine_patterns(traces) if p.kind == "loop" and p.q_value <= 0.1]
    assert bool(loops) == found


def waiting(
    task: str, looping: Sequence[int], others: Sequence[int], times: int = 3
) -> list[Trace]:
    """Runs of a task that wait so many times and those that do not, by how many calls they make."""
    return [
        run(
            f"{task}-{waits}-{n}",
            n % 2 == 0,
            *([call("wait", s=5)] * times if waits else []),
            *(call("look", i=m) for m in range(calls - times * waits)),
            task=task,
        )
        for waits, own in ((True, looping), (False, others))
        for n, calls in enumerate(own)
    ]


def loops_found(traces: list[Trace]) -> list[Pattern]:
    return [p for p in mine_patterns(traces) if p.kind == "loop" and p.q_value <= 0.1]


def test_waiting_in_tasks_that_take_longer_is_no_loop_that_goes_on() -> None:
    """Over all, runs that wait are long; within their task they are as long as others."""
    quick = [waiting(f"quick{n}", [], [3, 4, 5, 6, 5, 4]) for n in range(12)]
    slow = [waiting(f"slow{n}", [9, 10, 11, 12], [9, 10, 11, 12]) for n in range(8)]
    traces = [trace for task in quick + slow for trace in task]
    assert loops_found([replace(trace, task=None) for trace in traces])
    assert not loops_found(traces)
    every = [waiting(f"slow{n}", [9, 10, 11, 12], []) for n in range(8)]
    once = [waiting(f"once{n}", [9 + n % 4], []) for n in range(20)]
    # What is the same in all runs of a task, or was run once beside others, tells nothing.
    assert not loops_found([trace for task in quick + every + once for trace in task])


def test_a_loop_that_goes_on_within_tasks_is_found() -> None:
    """Over all, runs that loop are short: they are so in tasks that take few calls."""
    quick = [waiting(f"quick{n}", [7, 8, 8, 9], [3, 4]) for n in range(8)]
    slow = [waiting(f"slow{n}", [], [20, 21, 22, 23]) for n in range(12)]
    traces = [trace for task in quick + slow for trace in task]
    assert [p.subject for p in loops_found(traces)] == [("wait",)]
    assert not loops_found([replace(trace, task=None) for trace in traces])


def test_where_nearly_all_tasks_were_run_once_only_being_stuck_is_compared_between_them() -> None:
    """Three identical calls may be waiting that a task takes, ten are none."""
    runs = waiting("", [31, 32, 33] * 4, [14, 15, 16] * 12, times=10)
    nameless = [replace(trace, task=None) for trace in runs]
    once = [replace(trace, task=f"{n}") for n, trace in enumerate(runs)]
    [stuck] = loops_found(once)
    assert "at least 10 times" in stuck.text
    assert [p.p_value for p in loops_found(nameless)] == [stuck.p_value]
    few = waiting("", [11, 12, 13] * 4, [4, 5, 6] * 12)
    assert loops_found([replace(trace, task=None) for trace in few])
    assert not loops_found([replace(trace, task=f"{n}") for n, trace in enumerate(few)])
    # One task has 5 of 48 runs, which all wait.
    assert not loops_found([replace(t, task="2") if t.task in set("01234") else t for t in once])


def test_of_more_tasks_than_are_told_apart_the_others_are_not_compared() -> None:
    tasks = [
        waiting(f"{n}", [9, 10] if n % 4 else [], [] if n % 4 else [4, 5])
        for n in range(TASKS_KEPT + 200)
    ]
    assert not loops_found([trace for task in tasks for trace in task])


def lengths(seed: int) -> list[Trace]:
    """Runs of very different length, with more loops and errors the longer they are."""
    rng = random.Random(seed)
    traces = []
    for n in range(120):
        calls = [
            call(rng.choice("aaabbcde"), "no such row" if rng.random() < 0.15 else None, i=i % 4)
            for i in rng.choices(range(9), k=max(1, int(rng.gammavariate(2, 4))))
        ]
        traces.append(run(f"{n}", rng.random() < 0.5, *calls))
    return traces


def chance(seed: int) -> list[Trace]:
    """Fifty tasks, easy or hard, four runs each; a task's tools say nothing of its difficulty."""
    rng = random.Random(seed)
    traces = []
    for task in range(50):
        easy, tools = rng.choice([0.2, 0.8]), [f"t{n}" for n in range(8) if rng.random() < 0.4]
        for turn in range(4):
            steps = [call(name, i=turn) for name in tools if rng.random() < 0.95]
            traces.append(run(f"{task}-{turn}", rng.random() < easy, *steps, task=f"{task}"))
    return traces


def test_a_tool_that_helps_within_each_task_is_not_blamed_for_the_hard_ones() -> None:
    """Simpson's paradox: the tool is used where it is hard, and there raises success."""
    rng = random.Random(1)
    traces = []
    for n in range(1200):
        hard = n % 2 == 0
        used = rng.random() < (0.8 if hard else 0.2)
        succeeded = rng.random() < (0.2 if hard else 0.75) + 0.15 * used
        steps = [call("aid" if used else "look", i=n)]
        traces.append(run(f"{n}", succeeded, *steps, task=f"{n % 20}"))
    [found] = [p for p in mine_patterns(traces) if p.subject == ("aid",)]
    assert found.success_with < found.success_without
    low, high = found.interval
    assert 0 < low < 0.15 < high
    assert found.q_value < 0.01


def test_a_tool_that_most_runs_use_stands_out_where_it_is_missing() -> None:
    def calls(n: int, *others: str) -> list[ToolCall]:
        return [call(f"ask{n % 2}"), *map(call, others), call("end", i=n)]

    traces = [run(f"good{n}", True, *calls(n, *["plan"][: n % 7 < 6])) for n in range(14)]
    traces += [run(f"bad{n}", False, *calls(n)) for n in range(6)]
    found = kinds(mine_patterns(traces))
    assert ("tool_used", ("plan",)) not in found
    lacking = found["tool_unused", ("plan",)]
    assert lacking.text == "never calls `plan`"
    assert (lacking.support, lacking.success_with, lacking.success_without) == (8, 2 / 8, 1.0)
    assert set(lacking.failing_ids) < {f"bad{n}" for n in range(6)}
    assert lacking.succeeding_ids == ("good13", "good6")
    assert lacking.coverage == 1.0


def test_three_tools_in_a_row_are_a_pattern() -> None:
    rows = {True: "sbcae", False: "sbcscae"}
    traces = [
        run(f"{ok}{n}", ok, *(call(f"{name}{n % 2}" if name in "se" else name) for name in row))
        for ok, row in rows.items()
        for n in range(6)
    ]
    found = kinds(mine_patterns(traces))
    assert found["tool_triple", ("b", "c", "a")].text == (
        "calls `b`, `c` and `a` one right after the other"
    )


def test_words_that_go_along_with_failure_are_a_pattern() -> None:
    texts = ("all is well with order", "cannot reach the order")
    traces = [
        replace(run(f"{n:03}", n % 2 == 0, call("a")), steps=(Thought(texts[n % 2]),))
        for n in range(120)
    ]
    patterns = mine_patterns(traces)
    terms = [p for p in patterns if p.kind == "term"]
    assert patterns[0].text == "writes “cannot reach”"
    assert {p.text for p in terms} == {"writes “cannot reach”", "writes “all is”"}
    # Half of the runs chose them, so the others are all that they are tested on.
    assert 20 < terms[0].support < 40
    assert terms[0].q_value < 1e-6
    assert all(mark_of("clerk", id) % 2 for id in terms[0].failing_ids)


def test_words_without_effect_are_rarely_found() -> None:
    chance = random.Random(4)
    words = ["red", "blue", "green", "grey", "black", "white", "pink", "brown"]
    traces = [
        replace(
            run(str(n), chance.random() < 0.5), steps=(Thought(" ".join(chance.sample(words, 3))),)
        )
        for n in range(300)
    ]
    assert [p for p in mine_patterns(traces) if p.q_value < 0.1] == []
