"""What a candidate may not hold, whoever proposed it."""

from collections.abc import Callable
from typing import Any

import pytest

from tracetune.graph.state import Candidate, PromptTask
from tracetune.nodes.validate_candidates import violations_of

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
