"""What a prompt comes to hold, made from a draft and from what the runs say."""

from collections.abc import Callable
from typing import Any

from tracetune.graph.state import PromptDraft, PromptTask, Subject
from tracetune.nodes.guidelines import (
    budget_of,
    guideline,
    outside,
    read_examples,
    read_section,
    with_examples,
    with_section,
)
from tracetune.nodes.writing.settling import next_text

Task = Callable[..., PromptTask]

FLIPPED: dict[str, Any] = {
    "id": "p1",
    "text": "calls `x`",
    "support": 20,
    "success_with": 0.9,
    "success_without": 0.3,
    "effect": 0.6,
    "interval": (0.4, 0.7),
    "q_value": 0.001,
}


def learned(task: PromptTask, *texts: str) -> Subject:
    """The task's agent, whose guidelines the rules wrote because of p1 going along with failure."""
    subject = task["subject"]
    rows = [FLIPPED | {"success_with": 0.2, "success_without": 0.6, "effect": -0.4}]
    subject["guidelines"] = [guideline("main", t, "rules", {"patterns": rows}) for t in texts]
    subject["prompts"]["main"] = with_section(subject["prompts"]["main"], texts)
    return subject


def draft(subject: Subject, *texts: str, **more: Any) -> PromptDraft:
    lines = [guideline("main", t, "llm", {"why": f"Because of {t}"}) for t in texts]
    why = [f"Because of {text}" for text in texts]
    known = [line for line in subject["guidelines"] if line["prompt"] == "main"]
    return PromptDraft(
        agent="desk",
        prompt="main",
        origin="llm",
        guidelines=[*known, *lines],
        why=why,
        dropped=[],
        **more,
    )


def test_without_a_draft_a_prompt_stays_byte_for_byte(update_task: Task) -> None:
    odd = "Be kind.\n<learned_guidelines>\n*  odd \n\n</learned_guidelines>\n\ntail\r\n"
    subject = update_task(odd)["subject"]
    same = next_text("main", None, subject, {"patterns": [FLIPPED]})
    assert (same.text, same.why, same.dropped) == (odd, [], [])


def test_without_a_draft_a_guideline_retires_all_the_same(update_task: Task) -> None:
    subject = learned(update_task("Be kind."), "Do not call `x`.")
    after = next_text("main", None, subject, {"patterns": [FLIPPED]})
    assert after.text == "Be kind."
    assert after.why[0].startswith("Retired: “Do not call `x`.”")


def test_a_rewritten_text_keeps_guidelines_and_examples(update_task: Task) -> None:
    task = update_task("Be kind.", spec={"demonstrations": 1})
    subject = learned(task, "Do not call `x`.")
    subject["prompts"]["main"] = with_examples(subject["prompts"]["main"], ["run: 1"])
    written = draft(subject, text="Be very kind.")
    after = next_text("main", written, subject, {"demonstrations": ["run: 1"]})
    assert outside(after.text) == "Be very kind."
    assert read_section(after.text) == ["Do not call `x`."]
    assert read_examples(after.text) == ["run: 1"]


def test_examples_make_room_for_guidelines(update_task: Task) -> None:
    task = update_task(with_examples("Be kind.", ["x" * 1800]), spec={"demonstrations": 1})
    subject = task["subject"]
    rules = draft(subject, "Look first. " + "y" * 240)
    after = next_text("main", rules, subject, {"demonstrations": ["x" * 1800]})
    assert len(read_section(after.text)) == 1
    assert read_examples(after.text) == []
    assert after.why[-1].startswith("The examples are taken out")


def test_reasons_of_what_was_not_taken_are_not_given(update_task: Task) -> None:
    subject = update_task("Be kind.")["subject"]
    many = [f"{'abcdefghi'[n] * 250} {n}" for n in range(9)]
    after = next_text("main", draft(subject, *many), subject, {})
    taken = read_section(after.text)
    assert 0 < len(taken) < len(many)
    assert after.why == [f"Because of {text}" for text in taken]
    assert len(after.dropped) == len(many) - len(taken)
    assert len(after.text) <= budget_of(len("Be kind."))
