"""Which runs and which feedback a model is shown, on hand-made runs and on real ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from tracetune.nodes.evidence.choosing import choose_feedback, choose_runs, clusters_of
from tracetune.traces.mining.patterns import mine_patterns
from tracetune.traces.model import Message, Thought, ToolCall, Trace
from tracetune.traces.read import read_traces

ASK = Message("user", "Where is my order?")
LOOK = ToolCall("look", {"id": 1}, result="found")
LOOP = ToolCall("look", {"id": 7}, result="nothing")
BROKEN = ToolCall("pay", {"sum": 3}, error="Order 1234 is closed")


def run(id: str, *steps: ToolCall | Thought | Message, **more: object) -> Trace:
    return Trace(id, "desk", steps=(ASK, *steps), **more)  # type: ignore[arg-type]


def mixed() -> list[Trace]:
    """20 successes; 6 loops, 4 errors, 2 runs that end early, one of the user's own failure."""
    won = [run(f"ok{i:02}", LOOK, ToolCall("pay"), success=True, task=f"t{i}") for i in range(20)]
    loops = [run(f"loop{i}", *[LOOP] * 5, success=False, task=f"t{i}") for i in range(6)]
    broken = [run(f"err{i}", LOOK, BROKEN, success=False, task=f"e{i}") for i in range(4)]
    early = [run(f"early{i}", LOOK, success=False, task=f"x{i}") for i in range(2)]
    theirs = run("theirs", LOOK, success=False, failure_kind="user")
    return [*won, *loops, *broken, *early, theirs]


def test_failures_are_grouped_by_what_stands_behind_them() -> None:
    traces = mixed()
    clusters = clusters_of(traces, mine_patterns(traces))
    assert {why: [t.id for t in runs] for why, runs in clusters.items()} == {
        "repeats an identical call of `look` at least 3 times": [f"loop{i}" for i in range(6)],
        'gets from `pay` the error "Order <n> is closed"': [f"err{i}" for i in range(4)],
        "ends with `look`": ["early0", "early1"],
    }


@pytest.mark.parametrize(
    ("trace", "cause"),
    [
        pytest.param(run("a", LOOK, BROKEN, LOOK), 'gets from `pay` the error "', id="its error"),
        pytest.param(
            run("a", LOOK, labels={"ended_by": "max_steps"}), "is ended by max_steps", id="its end"
        ),
        pytest.param(run("a", ToolCall("pay")), "never calls `look`", id="a tool it lacks"),
        pytest.param(run("a", LOOK, ToolCall("pay")), "ends with `pay`", id="its last tool"),
    ],
)
def test_without_a_pattern_the_first_sign_that_holds_counts(trace: Trace, cause: str) -> None:
    won = [run(f"ok{i}", LOOK, LOOK, ToolCall("pay"), success=True) for i in range(4)]
    [found] = clusters_of([*won, replace(trace, success=False)], [])
    assert found.startswith(cause)


def test_a_call_is_the_same_again_whatever_it_answers() -> None:
    again = [LOOP, replace(LOOP, error="locked"), replace(LOOP, error="", agent="desk")]
    traces = [run(f"loop{n}", *again, success=False) for n in range(8)]
    traces += [run(f"ok{n}", LOOK, success=True) for n in range(16)]
    [loop] = [p for p in mine_patterns(traces) if p.kind == "loop"]
    assert list(clusters_of(traces, [loop])) == [loop.text]


def test_calls_of_which_nothing_was_recorded_are_no_loop() -> None:
    traces = mixed()
    [loop] = [p for p in mine_patterns(traces) if p.kind == "loop"]
    silent = run("silent", *[ToolCall("look")] * 5, success=False)
    assert silent not in clusters_of([*traces, silent], [loop])[loop.text]


@pytest.mark.parametrize("error", ["", "locked"])
def test_a_pattern_is_found_in_just_the_runs_that_have_it(error: str) -> None:
    traces = [run(f"bad{n}", replace(LOOK, error=error), success=False) for n in range(8)]
    traces += [run(f"other{n}", replace(LOOK, error="no"), success=False) for n in range(4)]
    traces += [run(f"ok{n}", LOOK, success=True) for n in range(16)]
    [own] = [p for p in mine_patterns(traces) if p.text.endswith(f'the error "{error}"')]
    clusters = clusters_of(traces, [own])
    assert len(clusters[own.text]) == own.support == 8


def test_a_run_that_calls_nothing_where_others_call_nothing_has_a_cluster_too() -> None:
    assert list(clusters_of([run("a", success=False)], [])) == ["calls no tool"]


def test_pairs_of_a_task_come_first_then_one_run_per_cluster_then_a_second() -> None:
    traces = mixed()
    shown, clusters = choose_runs(traces, mine_patterns(traces))
    assert clusters == 3
    assert [(one.cluster, "two runs of one task" in one.text) for one in shown] == [
        (0, True),
        (1, False),
        (2, False),
        (0, True),
        (1, False),
        (2, False),
    ]
    assert sum(one.failures for one in shown) == 6
    assert "theirs" not in "".join(one.text for one in shown)


def test_without_a_pair_one_success_stands_beside_the_first_failure() -> None:
    traces = [replace(trace, task=None) for trace in mixed()]
    shown, _ = choose_runs(traces, [])
    assert ['outcome="succeeded"' in one.text for one in shown].index(True) == 1
    assert sum('outcome="succeeded"' in one.text for one in shown) == 1


@pytest.mark.parametrize(
    ("traces", "outcomes"),
    [
        pytest.param([], [], id="no run at all"),
        pytest.param([run("a", success=True)] * 3, ["succeeded"] * 2, id="only successes"),
        pytest.param([run("a", LOOK)] * 3, ["unknown"] * 2, id="only unknown outcomes"),
        pytest.param([Trace("a", "desk", success=False)], ["failed"], id="a run with no steps"),
    ],
)
def test_what_there_is_is_shown(traces: list[Trace], outcomes: list[str]) -> None:
    shown, _ = choose_runs(traces, [])
    assert [one.text.split('outcome="')[1].split('"')[0] for one in shown] == outcomes


def test_the_same_runs_are_chosen_in_any_order(shared_data: Path) -> None:
    traces = list(read_traces(shared_data / "tau2-bench"))[:400]
    patterns = mine_patterns(traces)
    assert choose_runs(traces, patterns) == choose_runs(traces[::-1], patterns)


def test_of_real_runs_pairs_are_of_one_task_and_clusters_differ(shared_data: Path) -> None:
    traces = [t for t in read_traces(shared_data / "tau2-bench") if t.agent]
    agent = max({t.agent for t in traces}, key=lambda name: sum(t.agent == name for t in traces))
    own = [t for t in traces if t.agent == agent]
    shown, clusters = choose_runs(own, mine_patterns(own))
    assert clusters > 1
    assert len({one.cluster for one in shown}) > 1
    assert "two runs of one task" in shown[0].text


def told(*texts: str, success: bool = False) -> list[Trace]:
    return [Trace(f"{i:03}", "a", success=success, feedback=t) for i, t in enumerate(texts)]


def test_little_feedback_is_shown_whole_and_once() -> None:
    long = "It was slow. " * 100
    assert choose_feedback(told(long, "Too rude.", "Too rude.")) == [long, "Too rude."]


def test_of_much_feedback_what_differs_most_is_shown_shortened() -> None:
    same = [f"The answer number {i} came far too late for me today." for i in range(300)]
    odd = "Refunds above 100 euros must be approved by a manager."
    chosen = choose_feedback(told(*same[:150], odd, *same[150:]))
    assert chosen[:2] == [same[0], odd]
    assert len(chosen) == 12
    huge = choose_feedback(told(*(f"{i} " + "word " * 5000 for i in range(50))))
    assert sum(map(len, huge)) <= 12 * 300


def test_feedback_by_key_reads_like_no_sentence() -> None:
    graded = Trace("a", "a", feedback={"judgment": "wrong", "accuracy": 0.0})
    assert choose_feedback([graded]) == ["judgment=wrong, accuracy=0.0"]
