"""The style `rewrite`: a model weaves the change into the prompt's own text.

The managed section is kept apart: its guidelines stay, and the model rewrites what stands outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from tracetune.graph.state import PromptDraft, PromptTask
from tracetune.nodes.calling.calls import Branch, ask
from tracetune.nodes.evidence.briefing import Briefing, answer_room, brief, text_room
from tracetune.nodes.evidence.shortening import shorten_to, tokens_of
from tracetune.nodes.evidence.showing import cited_patterns
from tracetune.nodes.guarding.guarded import trusted_words, violations_in
from tracetune.nodes.guarding.guards import Violation
from tracetune.nodes.guarding.repairing import asked_again, broken, said
from tracetune.nodes.guidelines import current_guidelines, holds_tags, outside, with_section
from tracetune.prompts.loader import enclose

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["Rewrite", "TextChange", "by_rewriting", "fits", "settle"]

Json = dict[str, Any]

LONGEST = 12_000
"""Characters of a text that a model is asked to write anew: it has to answer with all of it."""
MOST_CHANGES = 10
_WANTED = "Answer again with the whole text and its changes, without what is refused."


class TextChange(BaseModel):
    """One change of the text."""

    what: str = Field(description="What was changed, in one sentence.")
    why: str = Field(description="One sentence that names the evidence.")
    patterns: list[int] = Field(
        default_factory=list, description="Numbers of the patterns behind it."
    )


class Rewrite(BaseModel):
    """The whole new text; an empty text and no changes where nothing is to change."""

    text: str = ""
    changes: list[TextChange] = Field(default_factory=list)


async def by_rewriting(model: BaseChatModel, task: PromptTask, branch: Branch) -> PromptDraft:
    """Ask for the text anew; ask again, once, where it breaks a rule.

    Raises:
        CallError: No answer, or one that breaks a rule again.
    """
    told, timeout_s = rewriting_prompt(task), task["settings"]["call_timeout_s"]
    answer, _ = await ask(model, Rewrite, told.text, branch=branch, timeout_s=timeout_s)
    draft = await settle(model, task, branch, answer, "rewrite")
    draft.setdefault("coverage", told.coverage)
    return draft


def rewriting_prompt(task: PromptTask, again: int = 0) -> Briefing:
    """What the model is asked: the text as it is, between tags that it cannot hold, and why.

    Args:
        again: Tokens that what is said besides takes.
    """
    body = outside(task["subject"]["prompts"][task["choice"]["prompt"]])
    return brief("rewriting", task, enclose("text", body), again)


def fits(text: str, settings: Mapping[str, Any]) -> bool:
    """Whether the prompt is short enough to be written anew, and to be shown as it is."""
    body = outside(text)
    return len(body) <= LONGEST and tokens_of(body) <= text_room(settings)


async def settle(
    model: BaseChatModel, task: PromptTask, branch: Branch, answer: Rewrite, style: str
) -> PromptDraft:
    """The draft that the answer makes, or that of a second answer where it breaks a rule.

    Only the latter says how much of what failed was shown: the caller knows it of the former.

    Raises:
        CallError: The second answer breaks a rule too, or there is none.
    """
    violations = _violations(answer, task, style)
    if not violations:
        return _draft(answer, task, style)
    body = outside(task["subject"]["prompts"][task["choice"]["prompt"]])
    said_before = shorten_to(answer.text, answer_room(task, body), fenced=True)
    refused = [(said_before, violation) for violation in violations]
    told = rewriting_prompt(task, tokens_of(asked_again("", refused, _WANTED)))
    again, _ = await ask(
        model,
        Rewrite,
        asked_again(told.text, refused, _WANTED),
        branch=branch,
        timeout_s=task["settings"]["call_timeout_s"],
    )
    if violations := _violations(again, task, style):
        raise broken(violations)
    return {**_draft(again, task, style), "coverage": told.coverage}


def _violations(answer: Rewrite, task: PromptTask, style: str) -> list[Violation]:
    subject, prompt = task["subject"], task["choice"]["prompt"]
    before = subject["prompts"][prompt]
    if (body := _body(answer, before)) is None:
        return []
    if holds_tags(body):
        return [Violation("section", "the managed section, which is no part of the text")]
    lines = [g["text"] for g in current_guidelines(subject, prompt)]
    return violations_in(with_section(body, lines), prompt, subject, task["measures"], style)


def _body(answer: Rewrite, before: str) -> str | None:
    """The new text with the old one's blank ends, or None where the answer changes nothing."""
    old, new = outside(before), answer.text.strip()
    if new == old.strip() or (not new and not answer.changes):
        return None
    start = len(old) - len(old.lstrip())
    return old[:start] + new + old[len(old.rstrip()) :]


def _draft(answer: Rewrite, task: PromptTask, style: str) -> PromptDraft:
    choice, subject = task["choice"], task["subject"]
    draft = PromptDraft(
        agent=choice["agent"],
        prompt=choice["prompt"],
        origin="llm",
        style=style,
        guidelines=current_guidelines(subject, choice["prompt"]),
        why=[],
        dropped=[],
    )
    if (body := _body(answer, subject["prompts"][choice["prompt"]])) is not None:
        draft["text"] = body
        trusted = trusted_words(choice["prompt"], subject, task["measures"])
        draft["why"] = [
            _why(change, task["measures"]["patterns"], trusted)
            for change in answer.changes[:MOST_CHANGES]
        ] or [f"Rewritten by {style}; the model gave no reason."]
    return draft


def _why(change: TextChange, patterns: list[Json], trusted: Sequence[str]) -> str:
    shown = [str(pattern["text"]) for pattern in cited_patterns(patterns, change.patterns)]
    line = said(f"{change.what} {change.why}", trusted)
    return f"{line} (runs where the agent {'; '.join(shown)})" if shown else line
