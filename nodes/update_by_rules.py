"""update_by_rules: guidelines that say what the numbers carry, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from tracetune.graph.state import PromptDraft, PromptTask, Subject
from tracetune.nodes.classify_by_rules import harmful
from tracetune.nodes.generate_update import current_guidelines, evidence_row
from tracetune.nodes.guards import check_prompt, check_sentence
from tracetune.nodes.guidelines import MAX_GUIDELINE, guideline, with_section
from tracetune.nodes.workplace import progress
from tracetune.traces.patterns import Pattern

__all__ = ["sentence", "update_by_rules"]

MOST_NEW = 3


async def update_by_rules(task: PromptTask) -> dict[str, list[PromptDraft]]:
    """Turn the strongest harmful patterns into guidelines of the chosen prompt."""
    choice = task["choice"]
    progress("update_by_rules", f"{choice['agent']}/{choice['prompt']}, by rules")
    patterns = [Pattern(**row) for row in task["measures"]["patterns"]]
    draft = draft_from_patterns(choice["agent"], choice["prompt"], task["subject"], patterns)
    return {"prompt_drafts": [draft]}


def draft_from_patterns(
    agent: str, prompt: str, subject: Subject, patterns: Sequence[Pattern]
) -> PromptDraft:
    """The prompt's guidelines with at most three more, each with its pattern as evidence."""
    before = subject["prompts"][prompt]
    form = subject["prompt_specs"].get(prompt, {}).get("template_format", "auto")
    kept = current_guidelines(subject, prompt)
    said = {g["id"] for g in kept}
    why: list[str] = []
    dropped: list[str] = []
    for pattern in harmful(patterns):
        if len(why) == MOST_NEW:
            break
        if (text := sentence(pattern)) is None:
            continue
        line = guideline(prompt, text, "rules", {"patterns": [evidence_row(asdict(pattern))]})
        if line["id"] in said:
            continue
        after = with_section(before, [g["text"] for g in [*kept, line]])
        violations = check_sentence(line["text"], MAX_GUIDELINE) or check_prompt(
            before, after, template_format=form, tools=subject["tools"]
        )
        if violations:
            dropped.append(
                f"{prompt}: a guideline with {violations[0].text} ({violations[0].rule})"
            )
            continue
        said.add(line["id"])
        kept.append(line)
        why.append(_why(pattern))
    return PromptDraft(
        agent=agent,
        prompt=prompt,
        origin="rules",
        guidelines=kept,
        why=why,
        dropped=dropped,
    )


def sentence(pattern: Pattern) -> str | None:
    """What a harmful pattern asks for, or None where following it would be no remedy.

    Using a tool at all, or being long, goes with harder tasks: avoiding it would cure nothing.
    """
    tool = pattern.subject[-1] if pattern.subject else ""
    if pattern.kind == "loop":
        return f"Do not call `{tool}` again with the same arguments: use what it already answered."
    if pattern.kind == "tool_error":
        return f"Before calling `{tool}`, check every argument against what the tools returned."
    return None


def _why(pattern: Pattern) -> str:
    low, high = pattern.interval
    told = (
        f"{pattern.support} runs where the agent {pattern.text}: "
        f"{pattern.success_with:.0%} succeeded, {pattern.success_without:.0%} of the others "
        f"(difference {pattern.effect * 100:+.0f} points, 95 % interval {low * 100:+.0f} to "
        f"{high * 100:+.0f})"
    )
    if pattern.long_with > pattern.long_without:
        told += (
            f"; {pattern.long_with:.0%} made more than twice the usual number of tool calls, "
            f"{pattern.long_without:.0%} of the others"
        )
    return f"{told} (q = {pattern.q_value:.2g})."
