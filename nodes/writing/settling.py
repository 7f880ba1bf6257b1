"""A prompt's next text: what one branch drafted, and what the runs say of what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracetune.graph.state import PromptDraft, Subject
from tracetune.nodes.guidelines import (
    budget_of,
    current_guidelines,
    outside,
    read_examples,
    with_section,
    without_examples,
)
from tracetune.nodes.writing.demonstrations import demonstrate
from tracetune.nodes.writing.retiring import Settled, settle

__all__ = ["NextText", "next_text"]

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NextText:
    """What a prompt is to hold, and why."""

    text: str
    guidelines: list[Json]
    why: list[str]
    """One sentence per difference."""
    dropped: list[str]
    """What was proposed and not taken, with the reason."""


def next_text(
    prompt: str, draft: PromptDraft | None, subject: Subject, measures: Mapping[str, Any]
) -> NextText:
    """The prompt with its draft's text and guidelines, settled; without a draft, only settled.

    So guidelines retire wherever runs speak against them, whichever prompts are chosen.
    """
    before = subject["prompts"][prompt]
    current = current_guidelines(subject, prompt)
    body = before if draft is None else draft.get("text", before)
    settled = _settled(prompt, body, draft, subject, measures)
    lines = [line["text"] for line in settled.guidelines]
    text = before if body == before and lines == _texts(current) else with_section(body, lines)
    if text != before:
        # Examples are put in anew: a rewritten text comes without them.
        text = without_examples(text)
    shown = demonstrate(text, prompt, subject, measures)
    return NextText(
        text=shown,
        guidelines=settled.guidelines,
        why=[*_why(draft, settled), *settled.why, *_of_examples(before, shown)],
        dropped=[
            *(draft["dropped"] if draft else ()),
            *(f"{prompt}: {phrase}" for phrase in settled.dropped),
        ],
    )


def _settled(
    prompt: str, body: str, draft: PromptDraft | None, subject: Subject, measures: Mapping[str, Any]
) -> Settled:
    current = current_guidelines(subject, prompt)
    bare = without_examples(body)
    most = budget_of(subject["first_sizes"].get(prompt, len(outside(bare))))

    def fits(sentences: Sequence[str]) -> bool:
        size = len(with_section(bare, sentences))
        return size <= most or size <= len(bare)

    proposed = draft["guidelines"] if draft else current
    findings = [*measures.get("patterns", ()), *measures.get("habits", ())]
    return settle(current, proposed, findings, fits)


def _why(draft: PromptDraft | None, settled: Settled) -> list[str]:
    """The draft's reasons, but for those of guidelines that were not taken after all."""
    if draft is None:
        return []
    taken = {line["id"] for line in settled.guidelines}
    untaken = [
        line["evidence"].get("why") for line in draft["guidelines"] if line["id"] not in taken
    ]
    return [why for why in draft["why"] if why not in untaken]


def _texts(guidelines: Sequence[Json]) -> list[str]:
    return [line["text"] for line in guidelines]


def _of_examples(before: str, after: str) -> list[str]:
    old, new = read_examples(before), read_examples(after)
    if old == new:
        return []
    if not new:
        return ["The examples are taken out: they are not allowed, or there is no room for them."]
    return [f"{len(new)} example{'s' if len(new) > 1 else ''} of runs that succeeded."]
