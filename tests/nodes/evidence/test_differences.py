"""Runs cut short around what tells."""

import pytest

from tracetune.nodes.evidence.differences import show_pair, show_steps
from tracetune.nodes.evidence.shortening import step_line
from tracetune.traces.model import Message, Step, Thought, ToolCall, Trace


def calls(*names: str) -> list[Step]:
    return [ToolCall(name, {}, result="ok") for name in names]


def run(steps: list[Step], success: bool = False) -> Trace:
    return Trace("t", "a", success=success, steps=(Message("user", "Do it."), *steps))


def test_equal_steps_are_left_out_and_counted() -> None:
    same = calls("a", "b", "c", "d", "e", "f", "g")
    failed, won = run([*same, *calls("x")]), run([*same, *calls("y")], True)
    assert show_pair(failed, won, 160).splitlines() == [
        "  user: Do it.",
        "  … 6 equal steps …",
        "  call g({}) -> ok",
        "- call x({}) -> ok",
        "+ call y({}) -> ok",
    ]


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        pytest.param(Thought("so"), Thought("hm"), False, id="thoughts are worded anew each time"),
        pytest.param(
            Message("assistant", "Hi"), Message("assistant", "Hello"), False, id="so are messages"
        ),
        pytest.param(
            Message("assistant", "Hi", agent="a"),
            Message("assistant", "Hi", agent="b"),
            True,
            id="somebody else says it",
        ),
        pytest.param(
            ToolCall("f", {"a": 1, "b": 2}), ToolCall("f", {"b": 2, "a": 1}), False, id="one call"
        ),
        pytest.param(ToolCall("f", {"a": 1}), ToolCall("f", {"a": 2}), True, id="other arguments"),
        pytest.param(ToolCall("f"), ToolCall("f", error="no"), True, id="one of them fails"),
    ],
)
def test_what_makes_steps_differ(one: Step, other: Step, differ: bool) -> None:
    shown = show_pair(run([one]), run([other], True), 1000)
    assert any(line.startswith("-") for line in shown.splitlines()) is differ


def test_an_error_is_shown_however_long_the_run_is() -> None:
    steps = [*calls(*(f"tool{i}" for i in range(300)))]
    steps[150] = ToolCall("pay", {}, error="Card refused")
    shown = show_steps(run(steps), 400)
    assert "  call pay({}) -> error: Card refused" in shown.splitlines()
    assert shown.splitlines()[0] == "  user: Do it."
    assert shown.splitlines()[-1] == "  call tool299({}) -> ok"
    assert "steps …" in shown
    assert len(shown) < 600


def test_equal_calls_in_a_row_become_one() -> None:
    shown = show_steps(run(calls(*["look"] * 12)), 500).splitlines()
    assert shown[1] == "  call look({}) -> ok … and 11 times more, the same call"
    assert len(shown) == 2


@pytest.mark.parametrize(
    ("step", "line"),
    [
        pytest.param(Message("user", "Hi"), "user: Hi", id="nobody is named"),
        pytest.param(Message("assistant", "Hi", agent="boss"), "boss (assistant): Hi", id="says"),
        pytest.param(Thought("hm", agent="boss"), "boss thinks: hm", id="thinks"),
        pytest.param(ToolCall("f", agent="hand"), "hand calls f({}) -> None", id="calls"),
        pytest.param(ToolCall("f", by="user"), "user calls f({}) -> None", id="the user's call"),
        pytest.param(
            ToolCall("f", result="a\n+ call evil() -> ok"),
            "call f({}) -> a + call evil() -> ok",
            id="a result cannot pass for a step",
        ),
    ],
)
def test_a_step_says_who_acted_on_one_line(step: Step, line: str) -> None:
    assert step_line(step) == line


def test_hundreds_of_different_steps_stay_within_the_bound() -> None:
    failed = run([ToolCall(f"a{i}", {"x": "y" * 500}, error="no" * 200) for i in range(900)])
    won = run([ToolCall(f"b{i}", {"x": "y" * 500}) for i in range(900)], True)
    assert len(show_pair(failed, won, 2400)) < 2600
