"""update_by_rules: guidelines that say what the numbers carry, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracetune.graph.state import Measures, PromptDraft, PromptTask, Subject
from tracetune.nodes.blaming.ranking import SIGNIFICANT
from tracetune.nodes.guarding.guarded import violations_in
from tracetune.nodes.guarding.guards import Violation, check_sentence
from tracetune.nodes.guarding.repairing import told_of
from tracetune.nodes.guidelines import (
    MAX_GUIDELINE,
    current_guidelines,
    evidence_row,
    guideline,
    with_section,
    without_examples,
)
from tracetune.nodes.workplace import progress
from tracetune.nodes.writing.remedies import bad_name, habit_sentence, pattern_sentence
from tracetune.nodes.writing.retiring import in_numbers, say_the_same

__all__ = ["draft_by_rules", "update_by_rules"]

Json = dict[str, Any]

MOST = 4
"""Findings that are acted on: always the strongest of these runs, whatever is said already, so
that learning again from the same runs adds nothing."""
LEAST_OTHERS = 5
"""Runs that must lack a pattern before it is acted on."""
SURE = 0.01
LARGE = 0.2
"""Where an order of tools could not be compared within tasks: the highest q-value, and the least
effect that the whole interval must lie above, so that what runs were asked for hardly explains it
(the reasoning of Cornfield and others 1959, J. Natl. Cancer Inst. 22, 173-203)."""


async def update_by_rules(task: PromptTask) -> dict[str, list[PromptDraft]]:
    """Turn the strongest findings into guidelines of the chosen prompt."""
    choice = task["choice"]
    progress("update_by_rules", f"{choice['agent']}/{choice['prompt']}, by rules")
    return {"prompt_drafts": [draft_by_rules(choice["prompt"], task["subject"], task["measures"])]}


def draft_by_rules(prompt: str, subject: Subject, measures: Measures) -> PromptDraft:
    """The prompt's guidelines with those that the findings add, each with its finding's figures."""
    kept = current_guidelines(subject, prompt)
    bare = without_examples(subject["prompts"][prompt])
    why: list[str] = []
    dropped: list[str] = []
    sayings, unnamed = _sayings(measures)
    for violation in unnamed:
        dropped.append(told_of(prompt, "a guideline", violation))
    for text, finding in sayings:
        reason = in_numbers(finding)
        evidence = {"patterns": [evidence_row(finding)], "why": reason}
        line = guideline(prompt, text, "rules", evidence)
        if any(say_the_same(line, old) for old in kept):
            continue
        after = with_section(bare, [g["text"] for g in [*kept, line]])
        violations = check_sentence(line["text"], MAX_GUIDELINE) or [
            # What has no room is settled with the others, by what each rests on.
            v
            for v in violations_in(after, prompt, subject, measures)
            if v.rule != "budget"
        ]
        if violations:
            dropped.append(told_of(prompt, "a guideline", violations[0]))
            continue
        kept.append(line)
        why.append(reason)
    return PromptDraft(
        agent=subject["agent"],
        prompt=prompt,
        origin="rules",
        guidelines=kept,
        why=why,
        dropped=dropped,
    )


def _sayings(measures: Measures) -> tuple[list[tuple[str, Json]], list[Violation]]:
    """The sentences of the strongest findings, each once, with the finding it rests on.

    Findings whose tools may not be named take no place of others: what is wrong with them stands
    beside, each once.
    """
    said: dict[str, Json] = {}
    unnamed: dict[Violation, None] = {}
    last_of_order: set[str] = set()
    for text, finding in sorted(_carried(measures), key=lambda row: row[1]["q_value"]):
        if (violation := bad_name(finding)) is not None:
            unnamed[violation] = None
            continue
        if finding["kind"] == "tool_order":
            # Several tools that come before one are mostly one habit: its strongest part is said.
            if finding["subject"][-1] in last_of_order:
                continue
            last_of_order.add(finding["subject"][-1])
        said.setdefault(text, finding)
    return list(said.items())[:MOST], list(unnamed)


def _carried(measures: Measures) -> Iterator[tuple[str, Json]]:
    # In `n_known` are failures of the user, too, which lack a pattern as they lack any.
    known = measures.get("judged", measures["metrics"].get("n_known") or 0)
    for pattern in measures["patterns"]:
        text = pattern_sentence(pattern)
        if text is not None and _is_harm(pattern, known):
            yield text, pattern
    for habit in measures.get("habits", ()):
        if _is_help(habit):
            yield habit_sentence(habit), habit


def _is_harm(pattern: Mapping[str, Any], known: int) -> bool:
    """Whether it goes along with failure, and its test says that of more than chance.

    Of loops the test is of going on or of success, whichever is surer: success or length must
    be worse by what is shown, too.
    """
    if pattern["effect"] >= 0 or pattern["q_value"] > SIGNIFICANT:
        return False
    worse = pattern["interval"][1] < 0 or pattern["tasks"] > 0
    longer = pattern["long_with"] > pattern["long_without"]
    return bool(known - pattern["support"] >= LEAST_OTHERS and (worse or longer))


def _is_help(habit: Mapping[str, Any]) -> bool:
    if habit["effect"] <= 0 or habit["q_value"] > SIGNIFICANT:
        return False
    if habit["tasks"]:
        return True
    return bool(habit["q_value"] <= SURE and habit["interval"][0] >= LARGE)
