"""What a candidate may not hold, whoever proposed it."""

from collections.abc import Callable
from typing import Any

import pytest

from tracetune.graph.state import Candidate, PromptTask
from tracetune.nodes.validate_candidates import judge, violations_of
from tracetune.traces.model import Trace

WORDS = ["one", "two", "three", "four"]
BEFORE = " ".join(f"Sentence {word} tells what to do." for word in WORDS)
REWORDED = " ".join(f"Of {word}, sentence tells what to do." for word in WORDS)


@pytest.mark.parametrize(
    ("style", "rules"),
    [
        pytest.param("rewrite", ["unrelated"], id="a rewrite leaves most sentences as they are"),
        pytest.param("guidelines", ["unrelated"], id="so do guidelines"),
        pytest.param("gradient", [], id="a style of langmem may put all in other words"),
        pytest.param("by hand", [], id="a person may too"),
    ],
)
def test_a_prompt_is_judged_as_its_style_allows(
    style: str, rules: list[str], update_task: Callable[..., PromptTask]
) -> None:
    task = update_task(BEFORE)
    change: dict[str, Any] = {"kind": "prompt", "name": "main", "before": BEFORE, "after": REWORDED}
    candidate = Candidate(
        prompts={"main": REWORDED},
        config={},
        guidelines=[],
        changes=[change | {"style": style}],
        dropped=[],
    )
    found = violations_of(candidate, task["subject"], task["measures"])
    assert [text.rpartition(" (")[2].rstrip(")") for text in found] == rules


def lowered(update_task: Callable[..., PromptTask], runs: list[Trace]) -> Any:
    """The verdict on a step limit of 20 instead of 50."""
    limit = {"kind": "config", "name": "max_steps", "before": 50, "after": 20}
    subject = update_task(BEFORE)["subject"]
    subject["parameters"] = {"max_steps": {"step_limit": True}}
    candidate = Candidate(
        prompts={"main": BEFORE},
        config={"max_steps": 20},
        guidelines=[],
        changes=[limit],
        dropped=[],
    )
    return judge(candidate, subject, runs)


@pytest.mark.parametrize("tasks", [None, 1, 5, 100])
def test_a_replayed_run_is_compared_with_itself_whatever_its_task(
    tasks: int | None, update_task: Callable[..., PromptTask]
) -> None:
    """As two samples of runs, eight successes that are lost for certain could be chance."""
    runs = [
        Trace(
            f"{n}",
            "desk",
            task=None if tasks is None else f"{n % tasks}",
            success=n < 60,
            turns=40 if n < 8 else 10,
        )
        for n in range(100)
    ]
    verdict = lowered(update_task, runs)
    assert (verdict.decision, verdict.n, verdict.gained, verdict.lost) == ("worse", 100, 0, 8)
    assert "of 100 runs replayed 0 gained and 8 lost" in verdict.why


@pytest.mark.parametrize(("known", "decision"), [(0, "not enough evidence"), (90, "not worse")])
def test_a_run_of_unknown_length_says_nothing_of_a_step_limit(
    known: int, decision: str, update_task: Callable[..., PromptTask]
) -> None:
    runs = [
        Trace(f"{n}", "desk", success=n % 2 == 0, turns=10 if n < known else None)
        for n in range(200)
    ]
    verdict = lowered(update_task, runs)
    assert (verdict.decision, verdict.n) == (decision, known)
