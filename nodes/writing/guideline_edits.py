"""The style `guidelines`: a model adds and retires single sentences of the managed section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from tracetune.graph.state import PromptDraft, PromptTask
from tracetune.nodes.calling.calls import Branch, CallError, ask
from tracetune.nodes.evidence.briefing import Briefing, brief, text_room
from tracetune.nodes.evidence.shortening import shorten_to, tokens_of
from tracetune.nodes.evidence.showing import cited_patterns
from tracetune.nodes.guarding.guarded import trusted_words, violations_in
from tracetune.nodes.guarding.guards import Violation, check_sentence
from tracetune.nodes.guarding.repairing import asked_again, broken, said, told_of
from tracetune.nodes.guidelines import (
    MAX_GUIDELINE,
    current_guidelines,
    evidence_row,
    guideline,
    with_section,
)
from tracetune.nodes.writing.retiring import say_the_same
from tracetune.prompts.loader import fence

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["MOST_NEW", "Edits", "NewGuideline", "by_guidelines", "take_edits"]

Json = dict[str, Any]
Refused = list[tuple[str, Violation]]
"""What was proposed and not taken, and the first rule that it breaks."""

MOST_NEW = 5
REFUSED_SHOWN = 130
"""Tokens of a refused sentence that the model gets to see again."""
_WANTED = "Give in `add` one replacement for each, or none where there is no good one."


class NewGuideline(BaseModel):
    """One guideline to add."""

    text: str = Field(description="One plain imperative sentence.")
    why: str = Field(description="One sentence that names the evidence.")
    patterns: list[int] = Field(
        default_factory=list, description="Numbers of the patterns behind it."
    )


class Edits(BaseModel):
    """What to add to and retire from a prompt's guidelines; nothing where nothing is supported."""

    add: list[NewGuideline] = Field(default_factory=list)
    retire: list[str] = Field(default_factory=list, description="Ids of guidelines to take out.")


async def by_guidelines(model: BaseChatModel, task: PromptTask, branch: Branch) -> PromptDraft:
    """Ask for guidelines and keep those that break no rule; ask again, once, for the others.

    Raises:
        CallError: The model gave nothing that may be used.
    """
    told, timeout_s = _prompt(task), task["settings"]["call_timeout_s"]
    answer, _ = await ask(model, Edits, told.text, branch=branch, timeout_s=timeout_s)
    draft, refused = take_edits(answer, task, _unchanged(task, told.coverage))
    if not refused:
        return draft
    taken = tokens_of(asked_again("", refused, _WANTED))
    prompt = asked_again(_prompt(task, taken).text, refused, _WANTED)
    try:
        again, _ = await ask(model, Edits, prompt, branch=branch, timeout_s=timeout_s)
    except CallError:
        if not draft["why"]:
            raise
        # What the first answer holds is sound, with or without replacements for the rest.
        return _dropping(draft, refused)
    draft, still = take_edits(Edits(add=again.add), task, draft)
    if still and not draft["why"]:
        raise broken(violation for _, violation in still)
    return _dropping(draft, still if again.add else refused)


def _prompt(task: PromptTask, again: int = 0) -> Briefing:
    text = task["subject"]["prompts"][task["choice"]["prompt"]]
    shown = shorten_to(text, text_room(task["settings"], again), fenced=True)
    return brief("generate_update", task, fence("text", shown), again, most=str(MOST_NEW))


def _unchanged(task: PromptTask, coverage: str) -> PromptDraft:
    choice = task["choice"]
    return PromptDraft(
        agent=choice["agent"],
        prompt=choice["prompt"],
        origin="llm",
        style="guidelines",
        coverage=coverage,
        guidelines=current_guidelines(task["subject"], choice["prompt"]),
        why=[],
        dropped=[],
    )


def _dropping(draft: PromptDraft, refused: Refused) -> PromptDraft:
    told = [told_of(draft["prompt"], "a guideline", violation) for _, violation in refused]
    return {**draft, "dropped": [*draft["dropped"], *told]}


def take_edits(edits: Edits, task: PromptTask, draft: PromptDraft) -> tuple[PromptDraft, Refused]:
    """The draft with the edits made, and the new guidelines left out as they break a rule."""
    subject, measures, prompt = task["subject"], task["measures"], draft["prompt"]
    before = subject["prompts"][prompt]
    trusted = trusted_words(prompt, subject, measures)
    asked = {g["id"] for g in draft["guidelines"] if g["origin"] != "human"} & set(edits.retire)
    retired = [g for g in draft["guidelines"] if g["id"] in asked]
    kept = [g for g in draft["guidelines"] if g not in retired]
    why = [*draft["why"], *(f"Retired: {g['text']}" for g in retired)]
    refused: Refused = []
    for new in edits.add[:MOST_NEW]:
        shown = cited_patterns(measures["patterns"], new.patterns)
        reason = said(new.why, trusted)
        evidence = {"patterns": [evidence_row(p) for p in shown], "why": reason}
        line = guideline(prompt, new.text, "llm", evidence)
        if any(say_the_same(line, old) for old in kept):
            continue
        after = with_section(before, [g["text"] for g in [*kept, line]])
        violations = check_sentence(line["text"], MAX_GUIDELINE, trusted) or [
            # What has no room is settled with all others, by what each rests on.
            v
            for v in violations_in(after, prompt, subject, measures)
            if v.rule != "budget"
        ]
        if violations:
            refused.append((shorten_to(new.text, REFUSED_SHOWN, fenced=True), violations[0]))
            continue
        kept.append(line)
        why.append(reason)
    return {**draft, "guidelines": kept, "why": why}, refused
